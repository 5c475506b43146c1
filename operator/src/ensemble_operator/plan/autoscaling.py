"""The autoscalers: one for each target of the rollout that clients reach.

They go where the operator itself must move the numbers: while RollingUpdate or Recreate exchange servers, or
servers have ended for a GPU or by replicas 0 (KEDA would start them again).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Annotate, Apply, Delete
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.observation import ObjectSeen, Observation, RolloutSeen
from ensemble_operator.plan.replicas import lacks_note, scaled_targets, servers, servers_before
from ensemble_operator.plan.sharing import taking_over
from ensemble_operator.plan.stage import ServeOutcome
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.autoscalers import SCALED_OBJECT, autoscaler
from ensemble_operator.resources.drift import covers
from ensemble_operator.resources.rollout import ANNOTATION_SERVERS_BEFORE
from ensembles_api.reasons import Reason
from ensembles_api.spec import Autoscaling, InferenceEnsembleSpec, Strategy

OPTIONAL_FIELDS = frozenset({"behavior", "advanced"})
"""Of an autoscaler's spec: where ours comes and goes with `behavior`."""


@dataclass(frozen=True)
class ScalingOutcome:
    first: tuple[Action, ...] = ()
    """Before any number of servers changes."""
    last: tuple[Action, ...] = ()
    """After all else: an autoscaler that the API server refuses must not hold up the servers."""
    trouble: Trouble | None = None


def autoscale(observation: Observation, serving: ServeOutcome, *, ended: frozenset[str]) -> ScalingOutcome:
    """The autoscalers as they should be; targets `ended` have none. An unreadable spec changes nothing."""
    spec = observation.spec
    if spec is None:
        return ScalingOutcome()
    wanted = _wanted(observation, spec, serving, ended)
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in wanted}
    live = [seen for seen in observation.autoscalers if history.is_ours(seen, observation)]
    first: list[Action] = [
        Delete(_kind(seen), seen.name, seen.uid)
        for seen in live
        if (_kind(seen), seen.name) not in names and not seen.deleting
    ]
    first += _note(observation, serving)
    missing = [manifest for manifest in wanted if manifest["kind"] in observation.missing_kinds]
    if missing:
        return ScalingOutcome(tuple(first), trouble=_missing())
    return ScalingOutcome(tuple(first), tuple(_ensure(live, wanted)))


def _wanted(
    observation: Observation, spec: InferenceEnsembleSpec, serving: ServeOutcome, ended: frozenset[str]
) -> list[dict[str, Any]]:
    scaling, active = spec.autoscaling, history.active_rollout(observation)
    rollout = history.find(observation, active) if active else None
    if scaling is None or rollout is None or not spec.serving.replicas:
        return []
    if _exchanges(observation, spec, serving):
        return []
    return [
        _manifest(observation, rollout, scaling, target=target)
        for target in range(len(rollout.data.targets))
        if rollout.data.targets[target].name not in ended
    ]


def _manifest(
    observation: Observation, rollout: RolloutSeen, scaling: Autoscaling, *, target: int
) -> dict[str, Any]:
    return autoscaler(
        owner=owner_of(observation),
        data=rollout.data,
        rollout=history.rollout_name(rollout),
        target=rollout.data.targets[target],
        scaling=scaling,
    )


def _exchanges(observation: Observation, spec: InferenceEnsembleSpec, serving: ServeOutcome) -> bool:
    """Whether old servers are ended, one by one or all at once, for new ones, or come back for these."""
    if spec.rollout.strategy not in {Strategy.ROLLING_UPDATE, Strategy.RECREATE}:
        return False
    if taking_over(observation):
        return True
    paused = serving.step is Reason.PAUSED  # for days, perhaps
    return not paused and _next(observation, serving) is not None


def _next(observation: Observation, serving: ServeOutcome) -> RolloutSeen | None:
    """The record of the rollout that shall take over, unless it has failed, or handed its GPU back."""
    if serving.wanted is None or serving.wanted == history.active_rollout(observation):
        return None
    rollout = history.find(observation, serving.wanted)
    if rollout is None or history.outcome(rollout) == history.FAILED:
        return None
    return None if history.given_back_until(rollout, observation.now) else rollout


def _note(observation: Observation, serving: ServeOutcome) -> Iterator[Action]:
    yield from _forget(observation, serving)
    rollout = _next(observation, serving)
    if rollout is None or not lacks_note(observation, rollout):
        return
    note = servers_before(observation, rollout.data)
    if note:
        yield Annotate("ControllerRevision", rollout.name, rollout.uid, note)


def _forget(observation: Observation, serving: ServeOutcome) -> Iterator[Action]:
    """Notes of rollouts that are not wanted any more. While autoscalers move the numbers these grow old."""
    active = history.active_rollout(observation)
    if active is None or serving.wanted is None or not _all_scaled(observation, active):
        return
    for rollout in observation.rollouts:
        if history.rollout_name(rollout) != serving.wanted and not lacks_note(observation, rollout):
            old = {ANNOTATION_SERVERS_BEFORE: ""}
            yield Annotate("ControllerRevision", rollout.name, rollout.uid, old)


def _all_scaled(observation: Observation, active: str) -> bool:
    """Whether autoscalers own the numbers of all targets, which are what they were before any exchange."""
    scaled, live = scaled_targets(observation), servers(observation, active)
    return bool(live) and all(count and target in scaled for target, count in live.items())


def _ensure(live: list[ObjectSeen], wanted: list[dict[str, Any]]) -> Iterator[Action]:
    seen = {(_kind(known), known.name): known for known in live}
    for manifest in wanted:
        known = seen.get((manifest["kind"], manifest["metadata"]["name"]))
        if known is None or known.deleting or _differs(known.manifest, manifest):
            # Never by Create: apply takes back, with `behavior`, only what an apply has brought.
            yield Apply(manifest)


def _differs(live: Mapping[str, Any], wanted: dict[str, Any]) -> bool:
    dropped = OPTIONAL_FIELDS & (set(live["spec"]) - set(wanted["spec"]))
    return bool(dropped) or not covers(live, wanted)


def _kind(seen: ObjectSeen) -> str:
    return str(seen.manifest["kind"])


def _missing() -> Trouble:
    return Trouble(
        Reason.KEDA_MISSING,
        f"the cluster has no {SCALED_OBJECT} (keda.sh/v1alpha1) that the operator may see: install KEDA, "
        "or remove spec.autoscaling.keda; the servers stay as many as they are",
        field="spec.autoscaling.keda",
    )
