"""A rollout that failed, for good or for a while: noted on its record, and without pods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Annotate, Delete, Scale
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.plan.routing import still_asked
from ensemble_operator.plan.sharing import taking_over
from ensemble_operator.plan.stage import MAIN, ServeOutcome, Stage
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.rollout import (
    ANNOTATION_FAILED_AT,
    ANNOTATION_FAILED_REQUEST,
    ANNOTATION_GIVEN_BACK_AT,
    ANNOTATION_MESSAGE,
    ANNOTATION_OUTCOME,
    ANNOTATION_REASON,
)
from ensembles_api.names import ANNOTATION_REQUESTED_AT, LABEL_ROLLOUT
from ensembles_api.reasons import Reason


def mark_failed(stage: Stage, rollout: RolloutSeen, trouble: Trouble) -> ServeOutcome:
    return replace(stage, weights=MAIN).outcome(
        Reason.ROLLING_OUT,
        "the rollout failed",
        failure_note(stage.observation, rollout, trouble),
        *_silence(stage.observation, stage.hash),
        trouble=trouble,
    )


def failure_note(observation: Observation, rollout: RolloutSeen, trouble: Trouble) -> Annotate:
    return Annotate(
        "ControllerRevision",
        rollout.name,
        rollout.uid,
        {
            ANNOTATION_OUTCOME: history.FAILED,
            ANNOTATION_REASON: trouble.reason.value,
            ANNOTATION_MESSAGE: trouble.text(),
            ANNOTATION_FAILED_AT: observation.now.isoformat(),
            ANNOTATION_FAILED_REQUEST: observation.annotations.get(ANNOTATION_REQUESTED_AT, ""),
        },
    )


def what_failed(rollout: RolloutSeen) -> Trouble:
    """What was noted of a rollout that failed."""
    reason = Reason(rollout.annotations.get(ANNOTATION_REASON, Reason.LOAD_FAILED.value))
    return Trouble(reason, rollout.annotations.get(ANNOTATION_MESSAGE, "the rollout failed"))


def is_asked_again(stage: Stage, rollout: RolloutSeen) -> bool:
    """Whether ensembles.dev/requestedAt has changed since the wanted rollout, which failed, was tried."""
    tried = {rollout.data.requested_at, rollout.annotations.get(ANNOTATION_FAILED_REQUEST, "")}
    return bool(stage.wanted.requested_at) and stage.wanted.requested_at not in tried


def give_back(stage: Stage, rollout: RolloutSeen, trouble: Trouble) -> ServeOutcome:
    """What served before serves again; noted first, so that a pass cut short does not leave both without."""
    now = stage.observation.now
    again = f"{now + history.GIVEN_BACK:%H:%M:%S}Z"
    trouble = replace(
        trouble, message=f"{trouble.message}; until {again} the former servers have the GPU again"
    )
    note = Annotate(
        "ControllerRevision",
        rollout.name,
        rollout.uid,
        {
            ANNOTATION_GIVEN_BACK_AT: now.isoformat(),
            ANNOTATION_REASON: trouble.reason.value,
            ANNOTATION_MESSAGE: trouble.what(),
        },
    )
    silence = _silence(stage.observation, stage.hash)
    outcome = stage.outcome(Reason.ROLLING_OUT, "the GPU is handed back", *silence, trouble=trouble)
    return replace(outcome, actions=(note, *outcome.actions), wake=now + history.GIVEN_BACK)


def failed_before(stage: Stage, rollout: RolloutSeen) -> ServeOutcome:
    if is_asked_again(stage, rollout) and stage.hash not in still_asked(stage.observation):
        # Asked for again: forget the failure, its servers and its Jobs; the next pass begins anew.
        return replace(
            stage.outcome(
                Reason.ROLLING_OUT,
                "the failed rollout is tried again",
                *_forget(stage.observation, rollout),
            ),
            kept_rollouts=stage.kept_rollouts,
        )
    return stage.outcome(
        Reason.ROLLING_OUT,
        "the rollout failed",
        *_silence(stage.observation, stage.hash),
        trouble=_told(stage, what_failed(rollout)),
    )


def _told(stage: Stage, failed: Trouble) -> Trouble:
    """What failed, and where clients had been on it, what they reach now."""
    active = history.find(stage.observation, stage.active) if stage.active else None
    if active is None or failed.reason is not Reason.FAILED_AFTER_PROMOTION:
        return failed
    return replace(failed, message=f"{failed.message}; revision {active.data.revision[:12]} serves again")


def _forget(observation: Observation, rollout: RolloutSeen) -> Iterator[Action]:
    for deployment in observation.deployments:
        if deployment.labels.get(LABEL_ROLLOUT) == history.rollout_name(rollout):
            yield Delete("Deployment", deployment.name, deployment.uid)
    yield Delete("ControllerRevision", rollout.name, rollout.uid)


def _silence(observation: Observation, rollout: str) -> Iterator[Action]:
    """A failed rollout keeps its objects for whoever looks, but no pods and no GPU. Where it gets requests,
    the former servers must take them first.
    """
    if taking_over(observation) == rollout or rollout in still_asked(observation):
        return
    for deployment in observation.deployments:
        if deployment.labels.get(LABEL_ROLLOUT) == rollout and deployment.replicas:
            yield Scale(deployment.name, 0)
