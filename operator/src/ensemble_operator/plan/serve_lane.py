"""Lane B: what serves? Heal the active rollout, bring up and verify the wanted one beside it, then switch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ensemble_operator import names
from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Annotate, Apply, Create, Delete, Scale
from ensemble_operator.plan.build_lane import owner_of
from ensemble_operator.plan.healing import (
    heal_budgets,
    heal_deployments,
    heal_service,
    main_service_manifest,
    overlap_manifest,
)
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.plan.serving_pods import pods_trouble, ready_everywhere
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.plan.verifying import Verification, verification
from ensemble_operator.resources.history import controller_revision
from ensemble_operator.resources.rollout import (
    ANNOTATION_FAILED_AT,
    ANNOTATION_MESSAGE,
    ANNOTATION_OUTCOME,
    ANNOTATION_PROMOTED_AT,
    ANNOTATION_REASON,
    ANNOTATION_RETIRED_AT,
    RolloutData,
)
from ensemble_operator.resources.services import rollout_service
from ensembles_api.names import LABEL_ENSEMBLE, LABEL_ROLLOUT
from ensembles_api.reasons import Nature, Reason
from ensembles_api.spec import InferenceEnsembleSpec

OVERLAP = timedelta(seconds=3)
"""How long the Service selects both: every kube-proxy must know the new pods before the old ones leave."""


@dataclass(frozen=True)
class ServeOutcome:
    """Where lane B stands.

    active: hash of the rollout clients reach when the actions are done; None where nothing serves yet.
    wanted: hash of the rollout that should serve.
    """

    active: str | None
    wanted: str | None
    step: Reason
    message: str
    verified: bool = False
    trouble: Trouble | None = None
    actions: tuple[Action, ...] = ()
    kept_rollouts: frozenset[str] = frozenset()
    """Hashes whose Deployments, Services and Jobs are not litter."""
    kept_jobs: frozenset[str] = frozenset()
    wake: datetime | None = None
    promoted: str | None = None
    """Set in the pass that moves the Service: the new active rollout."""

    @property
    def done(self) -> bool:
        return self.wanted is not None and self.active == self.wanted and self.trouble is None


@dataclass(frozen=True)
class _Stage:
    """A ServeOutcome in the making for one wanted rollout."""

    observation: Observation
    config: OperatorConfig
    replicas: int
    active: str | None
    wanted: RolloutData
    actions: tuple[Action, ...] = ()
    kept_rollouts: frozenset[str] = field(default_factory=frozenset)
    wake: datetime | None = None

    @property
    def hash(self) -> str:
        return self.wanted.rollout_hash()

    def outcome(
        self, step: Reason, message: str, *actions: Action, trouble: Trouble | None = None
    ) -> ServeOutcome:
        return ServeOutcome(
            active=self.active,
            wanted=self.hash,
            step=step,
            message=message,
            trouble=trouble,
            actions=(*self.actions, *actions),
            kept_rollouts=self.kept_rollouts | {self.hash},
            wake=trouble.retry_at if trouble and trouble.retry_at else self.wake,
        )


def serve(
    observation: Observation,
    config: OperatorConfig,
    spec: InferenceEnsembleSpec | None,
    wanted: RolloutData | None,
) -> ServeOutcome:
    """One step of lane B. `wanted` None: only keep alive what serves."""
    service = history.main_service(observation)
    if service is not None and not history.is_ours(service, observation):
        return _foreign_service(observation, leftover=service.labels.get(LABEL_ENSEMBLE) == observation.name)
    active = history.active_rollout(observation)
    replicas = spec.serving.replicas if spec else None
    retain = spec.rollout.retain_seconds if spec else None
    kept, wake = _retained(observation, retain)
    healing = _heal(observation, config, active, replicas)
    if active:
        kept = kept | {active}
    if wanted is None or replicas is None:
        pending = _overlap_to(observation)
        kept = kept | ({pending} if pending else set())
        return ServeOutcome(
            active, None, Reason.PENDING, "", actions=healing, kept_rollouts=frozenset(kept), wake=wake
        )
    stage = _Stage(observation, config, replicas, active, wanted, healing, frozenset(kept), wake)
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
    observation: Observation, config: OperatorConfig, active: str | None, replicas: int | None
) -> tuple[Action, ...]:
    rollout = history.find(observation, active) if active else None
    if rollout is None or active is None:
        return ()
    owner = owner_of(observation)
    return (
        *heal_deployments(observation, config, owner, rollout.data, replicas=replicas),
        *heal_budgets(observation, owner, rollout.data, replicas=replicas),
        *heal_service(observation, owner, rollout.data, active=active),
    )


def _steady(stage: _Stage) -> ServeOutcome:
    rollout = history.find(stage.observation, stage.hash)
    actions: tuple[Action, ...] = tuple(_retire_others(stage))
    if rollout is not None and history.outcome(rollout) != history.PROMOTED:
        actions = (*actions, _promoted(stage.observation, rollout))
    if _overlap_to(stage.observation):
        # The spec came back to what serves while another rollout was taking over.
        actions = (*actions, _select(stage, stage.hash))
    outcome = replace(
        stage.outcome(Reason.READY, f"revision {stage.wanted.revision[:12]} serves", *actions), verified=True
    )
    trouble = None
    if stage.replicas and not stage.observation.endpoints_ready:
        trouble = pods_trouble(stage.observation, stage.hash)
        outcome = replace(outcome, step=Reason.UNAVAILABLE, message="no server is ready")
    return replace(outcome, trouble=trouble)


def _bring_up(stage: _Stage) -> ServeOutcome:
    """The wanted rollout does not serve yet: create, wait, verify, promote; each pass does what it can."""
    observation, data = stage.observation, stage.wanted
    rollout = history.find(observation, stage.hash)
    pending = _overlap_to(observation)
    if pending and pending != stage.hash and stage.active:
        # The one that was taking over is not wanted any more: back to the active one, then go on.
        return stage.outcome(Reason.PROMOTING, "the switch is taken back", _select(stage, stage.active))
    if rollout is not None and history.outcome(rollout) == history.FAILED:
        return _failed_before(stage, rollout)
    create = []
    if rollout is None:
        number = max((r.number for r in observation.rollouts), default=0) + 1
        create.append(Create(controller_revision(owner=owner_of(observation), data=data, number=number)))
    stored = rollout.data if rollout else data
    create += _missing(stage, stored)
    if create:
        return stage.outcome(Reason.ROLLING_OUT, "new servers are started", *create)
    assert rollout is not None  # noqa: S101 - without it `create` is not empty
    return _watch(stage, rollout)


def _missing(stage: _Stage, data: RolloutData) -> list[Action]:
    observation, owner = stage.observation, owner_of(stage.observation)
    actions = list(heal_deployments(observation, stage.config, owner, data, replicas=stage.replicas))
    name = names.rollout(observation.name, stage.hash)
    if not any(service.name == name for service in observation.services):
        actions.append(Create(rollout_service(owner=owner, rollout=stage.hash)))
    if stage.replicas:
        check = verification(observation, stage.config, data, stage.hash)
        if check.create is not None:
            actions.append(Create(check.create))
    return actions


def _watch(stage: _Stage, rollout: RolloutSeen) -> ServeOutcome:
    observation = stage.observation
    if not stage.replicas:
        return _promote(stage, rollout, note="; not verified: spec.serving.replicas is 0")
    trouble = pods_trouble(observation, stage.hash)
    if trouble is not None and trouble.nature is Nature.USER:
        return _mark_failed(stage, rollout, trouble)
    check = verification(observation, stage.config, rollout.data, stage.hash)
    if check.failed is not None and check.failed.nature is Nature.USER:
        return _mark_failed(stage, rollout, check.failed)
    ready = ready_everywhere(observation, stage.hash, len(rollout.data.targets), stage.replicas)
    if check.succeeded and ready:
        return _promote(stage, rollout)
    return _waiting(stage, check, trouble, ready=ready)


def _waiting(stage: _Stage, check: Verification, trouble: Trouble | None, *, ready: bool) -> ServeOutcome:
    step = Reason.VERIFYING if ready else Reason.ROLLING_OUT
    message = (
        "the new servers are asked for real inferences"
        if ready
        else "new servers fetch and load the revision"
    )
    return stage.outcome(step, message, trouble=trouble or check.failed or check.wait)


def _failed_before(stage: _Stage, rollout: RolloutSeen) -> ServeOutcome:
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


def _mark_failed(stage: _Stage, rollout: RolloutSeen, trouble: Trouble) -> ServeOutcome:
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


def _overlap_to(observation: Observation) -> str | None:
    service = history.main_service(observation)
    return service.annotations.get(names.ANNOTATION_NEXT) or None if service else None


def _promoted(observation: Observation, rollout: RolloutSeen) -> Action:
    return Annotate(
        "ControllerRevision",
        rollout.name,
        rollout.uid,
        {ANNOTATION_OUTCOME: history.PROMOTED, ANNOTATION_PROMOTED_AT: observation.now.isoformat()},
    )


def _select(stage: _Stage, rollout: str) -> Action:
    seen = history.find(stage.observation, rollout)
    data = seen.data if seen else stage.wanted
    return Apply(main_service_manifest(stage.observation, owner_of(stage.observation), data, active=rollout))


def _promote(stage: _Stage, rollout: RolloutSeen, note: str = "") -> ServeOutcome:
    """Move the Service, with an overlap where something served before."""
    observation = stage.observation
    message = f"the Service moves to revision {rollout.data.revision[:12]}{note}"
    if stage.active is None:
        return _switch(stage, rollout, message)
    bystanders = _bystanders(observation, {stage.active, stage.hash})
    if bystanders:
        # During the overlap the Service selects by ensemble alone: no third rollout may have pods then.
        return stage.outcome(Reason.PROMOTING, "older servers end before the switch", *bystanders)
    service = history.main_service(observation)
    since = history.moment(service.annotations.get(names.ANNOTATION_OVERLAP_SINCE)) if service else None
    if _overlap_to(observation) != stage.hash or since is None:
        old = history.find(observation, stage.active)
        overlap = _overlap_service(stage, old.data if old else stage.wanted)
        begun = stage.outcome(Reason.PROMOTING, message, overlap)
        return replace(begun, wake=observation.now + OVERLAP)
    if since + OVERLAP > observation.now:
        return replace(stage.outcome(Reason.PROMOTING, message), wake=since + OVERLAP)
    return _switch(stage, rollout, message)


def _overlap_service(stage: _Stage, data: RolloutData) -> Action:
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


def _switch(stage: _Stage, rollout: RolloutSeen, message: str) -> ServeOutcome:
    observation = stage.observation
    actions: list[Action] = [_select(stage, stage.hash), _promoted(observation, rollout)]
    actions += _retire_others(stage)
    outcome = stage.outcome(Reason.PROMOTING, message, *actions)
    return replace(
        outcome,
        active=stage.hash,
        promoted=stage.hash,
        verified=True,
        wake=observation.now + timedelta(seconds=1),
    )


def _retire_others(stage: _Stage) -> Iterator[Action]:
    """Date the end of what the wanted rollout replaced; repeated until written, should a pass be cut short."""
    for rollout in stage.observation.rollouts:
        if history.outcome(rollout) == history.PROMOTED and history.rollout_name(rollout) != stage.hash:
            retired = {
                ANNOTATION_OUTCOME: history.SUPERSEDED,
                ANNOTATION_RETIRED_AT: stage.observation.now.isoformat(),
            }
            yield Annotate("ControllerRevision", rollout.name, rollout.uid, retired)
