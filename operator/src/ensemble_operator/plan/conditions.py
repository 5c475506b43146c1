"""Status and Events from the lanes' outcomes, in the form that kubectl, Argo CD, Flux and Helm understand.

Stalled and Reconciling exist only while True, and never together; Ready says whether this generation serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ensemble_operator.plan import history, scaling_status, verified
from ensemble_operator.plan.actions import Event
from ensemble_operator.plan.chain import BuildOutcome
from ensemble_operator.plan.healing import deployments_of
from ensemble_operator.plan.model_states import model_states
from ensemble_operator.plan.observation import Observation
from ensemble_operator.plan.records import records
from ensemble_operator.plan.stage import ServeOutcome
from ensemble_operator.plan.trouble import Trouble
from ensembles_api.names import HTTP_PORT, LABEL_TARGET
from ensembles_api.reasons import Condition, Reason
from ensembles_api.status import (
    InferenceEnsembleStatus,
    StatusCondition,
    TargetStatus,
)


@dataclass(frozen=True)
class Summary:
    """All that the status is made from. `reason`/`message` speak of this generation."""

    reason: Reason
    message: str
    ready: bool
    """This generation serves."""
    trouble: Trouble | None = None
    building: BuildOutcome | None = None
    serving: ServeOutcome | None = None
    suspended: bool = False
    pruning: Trouble | None = None
    """Keeps older revisions in storage; nothing else suffers from it."""


STAGES = (Condition.ASSEMBLED, Condition.BUILT, Condition.PUBLISHED, Condition.VERIFIED)
PRUNE_WARNING = "older revisions are not removed from storage yet: "


def summarise(
    building: BuildOutcome | None, serving: ServeOutcome, trouble: Trouble | None, *, suspended: bool
) -> Summary:
    """Which of the lanes speaks: what went wrong before what goes on, building before serving."""
    found = trouble or (building.trouble if building else None) or serving.trouble
    ready = serving.done and trouble is None
    base = Summary(Reason.PENDING, "", ready, building=building, serving=serving, suspended=suspended)
    if ready:
        return replace(base, reason=Reason.READY, message=serving.message)
    if suspended:
        return replace(base, reason=Reason.SUSPENDED, message="spec.suspend is true")
    if found is not None:
        return replace(base, reason=found.reason, message=found.text(), trouble=found)
    lane = serving if building is not None and building.wanted is not None else building
    return replace(base, reason=lane.step, message=lane.message) if lane else base


def failing_since(observation: Observation, trouble: Trouble | None) -> datetime | None:
    """Since when the trouble that is told lasts; the last status says, and losing it only restarts the grace
    time.
    """
    if trouble is None:
        return None
    if trouble.since is not None:
        return trouble.since
    before = observation.status.get("failingSince")
    ready = _condition(observation.status, Condition.READY)
    if before and ready and ready.get("reason") == trouble.reason.value:
        return datetime.fromisoformat(before)
    return observation.now


def status(
    observation: Observation, summary: Summary, *, stalled: bool, since: datetime | None
) -> dict[str, Any]:
    """The whole status document (camelCase)."""
    serving, building, trouble = summary.serving, summary.building, summary.trouble
    active = serving.active if serving else None
    rollout = history.find(observation, active) if active else None
    document = InferenceEnsembleStatus(
        observed_generation=observation.generation,
        conditions=_conditions(observation, summary, stalled=stalled),
        stage="Stalled" if stalled else summary.reason.value,
        revision=rollout.data.revision if rollout else None,
        rollout=active,
        url=f"http://{observation.name}.{observation.namespace}.svc:{HTTP_PORT}" if active else None,
        entrypoint=rollout.data.server.entrypoint or None if rollout else None,
        replicas=_replicas(observation, active),
        scale=scaling_status.scale(observation, rollout),
        attempt=trouble.attempt if trouble and trouble.attempt else None,
        retry_at=_text(trouble.retry_at) if trouble else None,
        failing_since=_text(since),
        models=model_states(observation, building),
        targets=_targets(observation, active),
        verification=verified.status_of(observation, serving.wanted if serving else None, active),
        warnings=_warnings(observation, summary),
        history=records(observation)[:100],
        progress=serving.progress if serving else None,
    )
    return document.model_dump(mode="json", by_alias=True, exclude_none=True)


def _warnings(observation: Observation, summary: Summary) -> list[str]:
    pruning = [PRUNE_WARNING + summary.pruning.text()] if summary.pruning else []
    said = [*pruning, *_build_warnings(observation, summary.building)]
    return [warning[:1024] for warning in said[:32]]  # as much as the CRD takes


def _build_warnings(observation: Observation, building: BuildOutcome | None) -> list[str]:
    """Where it is not known what is wanted, those of before: nothing was learned."""
    if building is not None:
        return list(building.warnings)
    return [text for text in observation.status.get("warnings", []) if not text.startswith(PRUNE_WARNING)]


def _conditions(observation: Observation, summary: Summary, *, stalled: bool) -> list[StatusCondition]:
    values: list[tuple[Condition, str, Reason, str]] = [
        (Condition.READY, _bool(summary.ready), summary.reason, summary.message)
    ]
    if stalled:
        values.append((Condition.STALLED, "True", summary.reason, summary.message))
    elif not summary.ready and not summary.suspended and summary.reason is not Reason.PAUSED:
        values.append((Condition.RECONCILING, "True", summary.reason, summary.message))
    available = observation.endpoints_ready and bool(summary.serving and summary.serving.active)
    values.append(
        (Condition.AVAILABLE, "True", Reason.AVAILABLE, "the Service has a ready server")
        if available
        else (Condition.AVAILABLE, "False", Reason.UNAVAILABLE, "the Service has no ready server")
    )
    stamped = [_stamped(observation, *value) for value in values]
    if summary.building is None:  # how far the last readable spec got, as its observedGeneration says
        before = [_condition(observation.status, kind) for kind in STAGES]
        return stamped + [StatusCondition.model_validate(known) for known in before if known is not None]
    stages = _stages(summary.building, summary.serving)
    return stamped + [_stamped(observation, *value) for value in stages]


def _stages(building: BuildOutcome, serving: ServeOutcome | None) -> list[tuple[Condition, str, Reason, str]]:
    published = building.wanted is not None
    verified = published and bool(serving and serving.verified)
    rows = [
        (Condition.ASSEMBLED, building.assembled, Reason.ASSEMBLING),
        (Condition.BUILT, building.built, Reason.BUILDING),
        (Condition.PUBLISHED, published, Reason.PENDING),
        (Condition.VERIFIED, verified, Reason.PENDING),
    ]
    texts = {
        Condition.ASSEMBLED: "sources are pinned and checked",
        Condition.BUILT: _built_text(building),
        Condition.PUBLISHED: "the revision is complete in storage",
        Condition.VERIFIED: "the servers answered real inferences",
    }
    return [
        (kind, "True", Reason.READY, texts[kind])
        if done
        else (kind, "False", reason, texts[kind] if kind is Condition.BUILT else "not yet")
        for kind, done, reason in rows
    ]


def _built_text(building: BuildOutcome) -> str:
    if building.built:
        return "every artifact is there"
    if building.builds_total:
        return f"{building.builds_done} of {building.builds_total} artifacts are built"
    return "not yet"


def _bool(value: bool) -> str:  # noqa: FBT001
    return "True" if value else "False"


def _text(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def _condition(document: Mapping[str, Any], kind: Condition) -> Mapping[str, Any] | None:
    return next((c for c in document.get("conditions", []) if c.get("type") == kind.value), None)


def _stamped(
    observation: Observation, kind: Condition, value: str, reason: Reason, message: str
) -> StatusCondition:
    before = _condition(observation.status, kind)
    now = observation.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    moved = before["lastTransitionTime"] if before and before.get("status") == value else now
    return StatusCondition.model_validate(
        {
            "type": kind.value,
            "status": value,
            "observedGeneration": observation.generation,
            "lastTransitionTime": moved,
            "reason": reason.value,
            "message": message[:4096],
        }
    )


def _replicas(observation: Observation, active: str | None) -> str | None:
    if not active:
        return None
    # Of both rollouts where two get requests.
    serving = {active} | history.selected(observation)
    deployments = [d for rollout in sorted(serving) for d in deployments_of(observation, rollout)]
    return f"{sum(d.ready_replicas for d in deployments)}/{sum(d.replicas for d in deployments)}"


def _targets(observation: Observation, active: str | None) -> list[TargetStatus]:
    return [
        TargetStatus(
            name=d.labels.get(LABEL_TARGET, ""),
            deployment=d.name,
            ready_replicas=d.ready_replicas,
            replicas=d.replicas,
            desired_replicas=scaling_status.desired_replicas(observation, d.labels.get(LABEL_TARGET, "")),
            autoscaler=scaling_status.problem(observation, d.labels.get(LABEL_TARGET, "")),
        )
        for d in (deployments_of(observation, active) if active else [])
    ]


def events(observation: Observation, summary: Summary) -> tuple[Event, ...]:
    """One Event where Ready's reason (or the generation that is ready) changed."""
    before = _condition(observation.status, Condition.READY)
    same = before is not None and before.get("reason") == summary.reason.value
    if same and before is not None and before.get("observedGeneration") == observation.generation:
        return ()
    if same and not summary.ready and summary.trouble is None:
        return ()
    if summary.trouble is None:
        return (Event("Normal", summary.reason.value, summary.message[:1000]),)
    # Without attempt and time: the same news again is counted, not told anew.
    return (Event("Warning", summary.reason.value, summary.trouble.what()[:1000]),)
