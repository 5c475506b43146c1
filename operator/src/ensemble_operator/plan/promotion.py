"""Moving the Service from one rollout to the next: overlap, switch, and the dates that history keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Annotate, Apply
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.healing import main_service_manifest
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.plan.provenance import serves_again
from ensemble_operator.plan.sharing import OVERLAP, overlap_since, share, standing, taking_over
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.resources.rollout import (
    ANNOTATION_APPROVED_BEFORE,
    ANNOTATION_MESSAGE,
    ANNOTATION_OUTCOME,
    ANNOTATION_PROMOTED_AT,
    ANNOTATION_RETIRED_AT,
    ANNOTATION_RETIRED_FOR,
    ANNOTATION_STEP,
    ANNOTATION_STEP_SINCE,
    ANNOTATION_STEPS,
    ANNOTATION_VERIFIED_AT,
)
from ensembles_api.names import ANNOTATION_PROMOTE
from ensembles_api.reasons import Reason

SETTLE = timedelta(seconds=2)
"""kube-proxy gathers changes for a second before it routes to a new endpoint: Ready must come later."""


NO_STEP = {ANNOTATION_STEP: "", ANNOTATION_STEP_SINCE: "", ANNOTATION_STEPS: ""}
"""Of a rollout that gets no share of the requests by steps, or not any more."""


def without_step(observation: Observation, rollout: RolloutSeen) -> Annotate:
    """The note on a rollout that has gone from step to step and shall not any more."""
    note = {**NO_STEP, ANNOTATION_APPROVED_BEFORE: observation.annotations.get(ANNOTATION_PROMOTE, "")}
    return Annotate("ControllerRevision", rollout.name, rollout.uid, note)


def left_steps(stage: Stage) -> Iterator[Action]:
    """Notes on rollouts that are not wanted any more: one that is again begins at its first step."""
    for rollout in stage.observation.rollouts:
        named = {stage.hash, taking_over(stage.observation)}
        failed = history.outcome(rollout) == history.FAILED
        if standing(rollout) and not failed and history.rollout_name(rollout) not in named:
            yield without_step(stage.observation, rollout)


def first_servers_known(stage: Stage) -> datetime:
    """From when on every node routes to the first servers of a Service; later ones overlap with the old."""
    seen = history.find(stage.observation, stage.hash)
    promoted = history.moment(seen.annotations.get(ANNOTATION_PROMOTED_AT)) if seen else None
    alone = not any(history.outcome(rollout) == history.SUPERSEDED for rollout in stage.observation.rollouts)
    return promoted + SETTLE if promoted and alone else stage.observation.now


def mark_promoted(observation: Observation, rollout: RolloutSeen) -> Action:
    note = {ANNOTATION_OUTCOME: history.PROMOTED, ANNOTATION_PROMOTED_AT: observation.now.isoformat()}
    if ANNOTATION_RETIRED_AT in rollout.annotations:
        note[ANNOTATION_MESSAGE] = serves_again(observation)
    elif ANNOTATION_MESSAGE in rollout.annotations:
        note[ANNOTATION_MESSAGE] = ""  # of a GPU that it had handed back
    if rollout.annotations.get(ANNOTATION_STEP):
        note |= NO_STEP
    return Annotate("ControllerRevision", rollout.name, rollout.uid, note)


def finish_promotion(observation: Observation, outcome: ServeOutcome) -> Iterator[Action]:
    """Note the promotion of what clients reach, where an operator was killed before it could, and something
    else is wanted since.
    """
    rollout = history.find(observation, outcome.active or "")
    if rollout is None or outcome.active in {outcome.wanted, None}:
        return
    if history.outcome(rollout) in {"", history.SUPERSEDED}:
        yield mark_promoted(observation, rollout)


def mark_verified(observation: Observation, rollout: RolloutSeen) -> Action:
    note = {ANNOTATION_VERIFIED_AT: observation.now.isoformat()}
    return Annotate("ControllerRevision", rollout.name, rollout.uid, note)


def is_verified(rollout: RolloutSeen | None) -> bool:
    return rollout is not None and ANNOTATION_VERIFIED_AT in rollout.annotations


def select(stage: Stage, rollout: str) -> Action:
    seen = history.find(stage.observation, rollout)
    data = seen.data if seen else stage.wanted
    return Apply(main_service_manifest(stage.observation, owner_of(stage.observation), data, active=rollout))


def promote(stage: Stage) -> ServeOutcome:
    """Move the Service, with an overlap where something served before."""
    note = "" if stage.replicas else "; not verified: spec.serving.replicas is 0"
    message = f"the Service moves to revision {stage.wanted.revision[:12]}{note}"
    sharing = share(stage, message)
    if sharing is not None:
        return sharing
    since = overlap_since(stage.observation) if stage.active else None
    if since is not None and since + OVERLAP > stage.observation.now:
        return replace(stage.outcome(Reason.PROMOTING, message), wake=since + OVERLAP)
    return _switch(stage, message)


def _switch(stage: Stage, message: str) -> ServeOutcome:
    observation, rollout = stage.observation, stage.rollout
    assert rollout is not None  # noqa: S101 - its servers were brought up
    actions: list[Action] = [select(stage, stage.hash), mark_promoted(observation, rollout)]
    if stage.replicas and not is_verified(rollout):
        actions.append(mark_verified(observation, rollout))
    actions += retire_others(stage)
    outcome = stage.outcome(Reason.PROMOTING, message, *actions)
    return replace(
        outcome,
        active=stage.hash,
        starved=True,  # whether anybody can reach it the next pass will see
        verified=bool(stage.replicas) or is_verified(rollout),
        wake=observation.now + timedelta(seconds=1),
    )


def retire_others(stage: Stage) -> Iterator[Action]:
    """Date the end of what the wanted rollout replaced; again and again until it is written."""
    for rollout in stage.observation.rollouts:
        if history.outcome(rollout) == history.PROMOTED and history.rollout_name(rollout) != stage.hash:
            retired = {
                ANNOTATION_OUTCOME: history.SUPERSEDED,
                ANNOTATION_RETIRED_AT: stage.observation.now.isoformat(),
                ANNOTATION_RETIRED_FOR: stage.hash,
            }
            yield Annotate("ControllerRevision", rollout.name, rollout.uid, retired)
