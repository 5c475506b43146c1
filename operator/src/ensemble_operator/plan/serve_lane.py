"""Lane B: what serves? Heal the active rollout, bring up and verify the wanted one beside it, then switch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from ensemble_operator import names
from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Annotate, Create, Delete, Scale
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.gpu_busy import Yielding
from ensemble_operator.plan.healing import (
    heal_budgets,
    heal_deployments,
    heal_service,
)
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.plan.promotion import (
    first_servers_known,
    is_verified,
    mark_promoted,
    mark_verified,
    promote,
    retire_others,
    select,
    taking_over,
)
from ensemble_operator.plan.serving_pods import pods_trouble, ready_everywhere
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.plan.verifying import Verification, verification
from ensemble_operator.resources.history import controller_revision
from ensemble_operator.resources.rollout import (
    ANNOTATION_FAILED_AT,
    ANNOTATION_GIVEN_BACK_AT,
    ANNOTATION_MESSAGE,
    ANNOTATION_OUTCOME,
    ANNOTATION_REASON,
    RolloutData,
)
from ensemble_operator.resources.services import rollout_service
from ensembles_api.names import LABEL_ENSEMBLE, LABEL_ROLLOUT
from ensembles_api.reasons import Nature, Reason
from ensembles_api.spec import InferenceEnsembleSpec


def serve(
    observation: Observation,
    config: OperatorConfig,
    spec: InferenceEnsembleSpec | None,
    wanted: RolloutData | None,
    *,
    yielding: Yielding | None = None,
) -> ServeOutcome:
    """One step of lane B. `wanted` None: only keep alive what serves; `yielding`: without the targets
    whose GPU is needed for what comes next.
    """
    service = history.main_service(observation)
    if service is not None and not history.is_ours(service, observation):
        leftover = bool(service.owners) and service.labels.get(LABEL_ENSEMBLE) == observation.name
        outcome = _foreign_service(observation, leftover=leftover)
        # Whoever took the name may give it back: that is no reason to end servers.
        return replace(outcome, kept_rollouts=frozenset(map(history.rollout_name, observation.rollouts)))
    active = history.active_rollout(observation)
    replicas = spec.serving.replicas if spec else None
    retain = spec.rollout.retain_seconds if spec else None
    kept, wake = _retained(observation, retain)
    healing = _heal(observation, config, active, replicas, yielding.ended if yielding else frozenset())
    if yielding is not None and yielding.wake is not None:
        wake = min(wake or yielding.wake, yielding.wake)
    kept |= history.selected(observation) | ({active} if active else set())
    if wanted is None or replicas is None:
        kept |= history.in_progress(observation)
        return ServeOutcome(
            active, None, Reason.PENDING, "", actions=healing, kept_rollouts=frozenset(kept), wake=wake
        )
    give_back = yielding.give_back if yielding else None
    stage = Stage(observation, config, replicas, active, wanted, healing, frozenset(kept), wake, give_back)
    if stage.hash == active:
        return _steady(stage)
    return _bring_up(stage)


def _foreign_service(observation: Observation, *, leftover: bool) -> ServeOutcome:
    if leftover:
        waiting = Trouble(
            Reason.POD_LOST,
            f"Service {observation.name} still belongs to a deleted InferenceEnsemble of this name",
            retry_at=observation.now + timedelta(seconds=2),
        )
        return ServeOutcome(
            None, None, Reason.PENDING, waiting.message, trouble=waiting, wake=waiting.retry_at
        )
    trouble = Trouble(
        Reason.OBJECT_NOT_OWNED,
        f"Service {observation.name} exists and is not this ensemble's; rename one of them or remove it",
        field="metadata.name",
    )
    return ServeOutcome(None, None, Reason.PENDING, trouble.message, trouble=trouble)


def _retained(observation: Observation, retain_seconds: int | None) -> tuple[set[str], datetime | None]:
    """Replaced rollouts that still run, and when the first of them may go. An unreadable spec keeps all."""
    kept: set[str] = set()
    ends: list[datetime] = []
    for rollout in observation.rollouts:
        outcome = history.outcome(rollout)
        until = history.retained_until(rollout, retain_seconds or 0)
        if outcome == history.PROMOTED or (outcome == history.SUPERSEDED and retain_seconds is None):
            kept.add(history.rollout_name(rollout))
        elif outcome == history.SUPERSEDED and until is not None and until > observation.now:
            kept.add(history.rollout_name(rollout))
            ends.append(until)
    return kept, min(ends, default=None)


def _heal(
    observation: Observation,
    config: OperatorConfig,
    active: str | None,
    replicas: int | None,
    ended: frozenset[str],
) -> tuple[Action, ...]:
    rollout = history.find(observation, active) if active else None
    if rollout is None or active is None:
        return ()
    owner = owner_of(observation)
    return (
        *heal_deployments(observation, config, owner, rollout.data, replicas=replicas, ended=ended),
        *heal_budgets(observation, owner, rollout.data, replicas=replicas),
        *heal_service(observation, owner, rollout.data, active=active),
    )


def _steady(stage: Stage) -> ServeOutcome:
    rollout = history.find(stage.observation, stage.hash)
    actions: tuple[Action, ...] = tuple(retire_others(stage))
    if rollout is not None and history.outcome(rollout) != history.PROMOTED:
        actions = (*actions, mark_promoted(stage.observation, rollout))
    if taking_over(stage.observation):
        # The spec came back to what serves while another rollout was taking over.
        actions = (*actions, select(stage, stage.hash))
    outcome = replace(
        stage.outcome(Reason.READY, f"revision {stage.wanted.revision[:12]} serves", *actions),
        verified=is_verified(rollout),
    )
    if not stage.replicas:
        idle = f"revision {stage.wanted.revision[:12]} is published; spec.serving.replicas is 0"
        return replace(outcome, message=idle)
    if rollout is not None and not outcome.verified:
        outcome = _verify_late(stage, rollout, outcome)
        if outcome.starved:
            return outcome
    settled = first_servers_known(stage)
    if stage.observation.endpoints_ready and settled > stage.observation.now:
        message = "every node learns of the first servers"
        return replace(outcome, step=Reason.PROMOTING, message=message, starved=True, wake=settled)
    if stage.observation.endpoints_ready:
        return outcome
    return replace(
        outcome,
        step=Reason.UNAVAILABLE,
        message="no server is ready",
        trouble=pods_trouble(stage.observation, stage.hash),
        starved=True,
    )


def _verify_late(stage: Stage, rollout: RolloutSeen, outcome: ServeOutcome) -> ServeOutcome:
    """What was promoted without servers is asked as soon as it has some."""
    check = verification(stage.observation, stage.config, rollout.data, stage.hash, replicas=stage.replicas)
    if check.succeeded:
        verified = mark_verified(stage.observation, rollout)
        return replace(outcome, actions=(*outcome.actions, verified), verified=True)
    trouble = check.failed or check.wait or pods_trouble(stage.observation, stage.hash)
    return replace(
        outcome,
        actions=(*outcome.actions, *([Create(check.create)] if check.create else [])),
        step=Reason.VERIFYING,
        message="the servers are asked for real inferences",
        trouble=trouble,
        wake=trouble.retry_at if trouble and trouble.retry_at else outcome.wake,
        starved=True,
    )


def _bring_up(stage: Stage) -> ServeOutcome:
    """The wanted rollout does not serve yet: create, wait, verify, promote; each pass does what it can."""
    observation, data = stage.observation, stage.wanted
    rollout = history.find(observation, stage.hash)
    pending = taking_over(observation)
    if pending and pending != stage.hash and stage.active:
        # The one that was taking over is not wanted any more: back to the active one, then go on.
        return stage.outcome(Reason.PROMOTING, "the switch is taken back", select(stage, stage.active))
    if rollout is not None and history.outcome(rollout) == history.FAILED:
        return _failed_before(stage, rollout)
    given_back = history.given_back_until(rollout, observation.now)
    if rollout is not None and given_back is not None:
        return replace(_failed_before(stage, rollout), wake=given_back)
    if rollout is not None and stage.give_back is not None:
        return _give_back(stage, rollout, stage.give_back)
    create: list[Action] = []
    if rollout is None:
        number = max((r.number for r in observation.rollouts), default=0) + 1
        create.append(Create(controller_revision(owner=owner_of(observation), data=data, number=number)))
    stored = rollout.data if rollout else data
    create += _missing(stage, stored)
    if create:
        return stage.outcome(Reason.ROLLING_OUT, "new servers are started", *create)
    assert rollout is not None  # noqa: S101 - without it `create` is not empty
    return _watch(stage, rollout)


def _missing(stage: Stage, data: RolloutData) -> list[Action]:
    observation, owner = stage.observation, owner_of(stage.observation)
    actions = list(heal_deployments(observation, stage.config, owner, data, replicas=stage.replicas))
    name = names.rollout(observation.name, stage.hash)
    if not any(service.name == name for service in observation.services):
        actions.append(Create(rollout_service(owner=owner, rollout=stage.hash)))
    if stage.replicas:
        check = verification(observation, stage.config, data, stage.hash, replicas=stage.replicas)
        if check.create is not None:
            actions.append(Create(check.create))
    return actions


def _watch(stage: Stage, rollout: RolloutSeen) -> ServeOutcome:
    observation = stage.observation
    if not stage.replicas:
        return promote(stage, rollout, note="; not verified: spec.serving.replicas is 0")
    trouble = pods_trouble(observation, stage.hash)
    # A refused pod is tried again by its controller: an account that comes later, a webhook that was away.
    if trouble and trouble.nature is Nature.USER and trouble.reason is not Reason.INVALID_POD_SETTINGS:
        return _mark_failed(stage, rollout, trouble)
    check = verification(observation, stage.config, rollout.data, stage.hash, replicas=stage.replicas)
    if check.failed is not None and check.failed.nature is Nature.USER:
        return _mark_failed(stage, rollout, check.failed)
    ready = ready_everywhere(observation, stage.hash, len(rollout.data.targets), stage.replicas)
    if check.succeeded and ready:
        return promote(stage, rollout)
    return _waiting(stage, check, trouble, ready=ready)


def _waiting(stage: Stage, check: Verification, trouble: Trouble | None, *, ready: bool) -> ServeOutcome:
    step = Reason.VERIFYING if ready else Reason.ROLLING_OUT
    message = (
        "the new servers are asked for real inferences"
        if ready
        else "new servers fetch and load the revision"
    )
    return stage.outcome(step, message, trouble=trouble or check.failed or check.wait)


def _failed_before(stage: Stage, rollout: RolloutSeen) -> ServeOutcome:
    requested = stage.wanted.requested_at
    if requested and requested != rollout.data.requested_at:
        # Asked for again: forget the failure, its servers and its Jobs; the next pass begins anew.
        return replace(
            stage.outcome(
                Reason.ROLLING_OUT,
                "the failed rollout is tried again",
                *_forget(stage.observation, rollout),
            ),
            kept_rollouts=stage.kept_rollouts,
        )
    reason = Reason(rollout.annotations.get(ANNOTATION_REASON, Reason.LOAD_FAILED.value))
    trouble = Trouble(reason, rollout.annotations.get(ANNOTATION_MESSAGE, "the rollout failed"))
    return stage.outcome(
        Reason.ROLLING_OUT, "the rollout failed", *_silence(stage.observation, stage.hash), trouble=trouble
    )


def _forget(observation: Observation, rollout: RolloutSeen) -> Iterable[Action]:
    for deployment in observation.deployments:
        if deployment.labels.get(LABEL_ROLLOUT) == history.rollout_name(rollout):
            yield Delete("Deployment", deployment.name, deployment.uid)
    yield Delete("ControllerRevision", rollout.name, rollout.uid)


def _silence(observation: Observation, rollout: str) -> Iterable[Action]:
    """A failed rollout keeps its objects for whoever looks, but no pods and no GPU."""
    for deployment in observation.deployments:
        if deployment.labels.get(LABEL_ROLLOUT) == rollout and deployment.replicas:
            yield Scale(deployment.name, 0)


def _give_back(stage: Stage, rollout: RolloutSeen, trouble: Trouble) -> ServeOutcome:
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


def _mark_failed(stage: Stage, rollout: RolloutSeen, trouble: Trouble) -> ServeOutcome:
    note = Annotate(
        "ControllerRevision",
        rollout.name,
        rollout.uid,
        {
            ANNOTATION_OUTCOME: history.FAILED,
            ANNOTATION_REASON: trouble.reason.value,
            ANNOTATION_MESSAGE: trouble.text(),
            ANNOTATION_FAILED_AT: stage.observation.now.isoformat(),
        },
    )
    return stage.outcome(
        Reason.ROLLING_OUT,
        "the rollout failed",
        note,
        *_silence(stage.observation, stage.hash),
        trouble=trouble,
    )
