"""Moving the Service from one rollout to the next: overlap, switch, and the dates that history keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from ensemble_operator import names
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Annotate, Apply, Delete
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.healing import main_service_manifest, overlap_manifest
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.plan.provenance import serves_again
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.resources.rollout import (
    ANNOTATION_MESSAGE,
    ANNOTATION_OUTCOME,
    ANNOTATION_PROMOTED_AT,
    ANNOTATION_RETIRED_AT,
    ANNOTATION_RETIRED_FOR,
    ANNOTATION_VERIFIED_AT,
    RolloutData,
)
from ensembles_api.names import LABEL_ROLLOUT
from ensembles_api.reasons import Reason

OVERLAP = timedelta(seconds=3)
"""How long the Service selects both: every kube-proxy must know the new pods before the old ones leave."""

SETTLE = timedelta(seconds=2)
"""kube-proxy gathers changes for a second before it routes to a new endpoint: Ready must come later."""


def first_servers_known(stage: Stage) -> datetime:
    """From when on every node routes to the first servers of a Service; later ones overlap with the old."""
    seen = history.find(stage.observation, stage.hash)
    promoted = history.moment(seen.annotations.get(ANNOTATION_PROMOTED_AT)) if seen else None
    alone = not any(history.outcome(rollout) == history.SUPERSEDED for rollout in stage.observation.rollouts)
    return promoted + SETTLE if promoted and alone else stage.observation.now


def taking_over(observation: Observation) -> str | None:
    service = history.main_service(observation)
    return service.annotations.get(names.ANNOTATION_NEXT) or None if service else None


def mark_promoted(observation: Observation, rollout: RolloutSeen) -> Action:
    note = {ANNOTATION_OUTCOME: history.PROMOTED, ANNOTATION_PROMOTED_AT: observation.now.isoformat()}
    if ANNOTATION_RETIRED_AT in rollout.annotations:
        note[ANNOTATION_MESSAGE] = serves_again(observation)
    elif ANNOTATION_MESSAGE in rollout.annotations:
        note[ANNOTATION_MESSAGE] = ""  # of a GPU that it had handed back
    return Annotate("ControllerRevision", rollout.name, rollout.uid, note)


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
    observation, rollout = stage.observation, stage.rollout
    assert rollout is not None  # noqa: S101 - its servers were brought up
    note = "" if stage.replicas else "; not verified: spec.serving.replicas is 0"
    message = f"the Service moves to revision {rollout.data.revision[:12]}{note}"
    if stage.active is None:
        return _switch(stage, rollout, message)
    bystanders = _bystanders(observation, {stage.active, stage.hash})
    if bystanders:
        # During the overlap the Service selects by ensemble alone: no third rollout may have pods then.
        return stage.outcome(Reason.PROMOTING, "older servers end before the switch", *bystanders)
    service = history.main_service(observation)
    since = history.moment(service.annotations.get(names.ANNOTATION_OVERLAP_SINCE)) if service else None
    if taking_over(observation) != stage.hash or since is None:
        old = history.find(observation, stage.active)
        overlap = _overlap_service(stage, old.data if old else stage.wanted)
        begun = stage.outcome(Reason.PROMOTING, message, overlap)
        return replace(begun, wake=observation.now + OVERLAP)
    if since + OVERLAP > observation.now:
        return replace(stage.outcome(Reason.PROMOTING, message), wake=since + OVERLAP)
    return _switch(stage, rollout, message)


def _overlap_service(stage: Stage, data: RolloutData) -> Action:
    assert stage.active is not None  # noqa: S101 - an overlap has two sides
    owner = owner_of(stage.observation)
    return Apply(
        overlap_manifest(
            stage.observation,
            owner,
            data,
            active=stage.active,
            following=stage.hash,
            since=stage.observation.now,
        )
    )


def _bystanders(observation: Observation, parties: set[str]) -> list[Action]:
    return [
        Delete("Deployment", deployment.name, deployment.uid)
        for deployment in observation.deployments
        if deployment.labels.get(LABEL_ROLLOUT) not in parties and (deployment.pods or deployment.replicas)
    ]


def _switch(stage: Stage, rollout: RolloutSeen, message: str) -> ServeOutcome:
    observation = stage.observation
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
