"""One pass: lanes A, B and C on one Observation. Pure; equal Observations give equal Plans."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan import claims, conditions, history, secrets, verified
from ensemble_operator.plan.actions import Action, Delete, Plan, SetFinalizer
from ensemble_operator.plan.autoscaling import autoscale
from ensemble_operator.plan.build_lane import build
from ensemble_operator.plan.chain import BuildOutcome
from ensemble_operator.plan.deletion import delete, leaving
from ensemble_operator.plan.desired import Desired, resolve
from ensemble_operator.plan.gpu_busy import explained, gives_way, told_of
from ensemble_operator.plan.litter_lane import beyond_history, litter
from ensemble_operator.plan.observation import Observation
from ensemble_operator.plan.pinning import pin, pinned_revision, told
from ensemble_operator.plan.pruning import PruneOutcome, prune_history
from ensemble_operator.plan.routing import routed
from ensemble_operator.plan.serve_lane import serve
from ensemble_operator.plan.stage import ServeOutcome
from ensemble_operator.plan.trouble import GRACE, STALLED_RETRY, Trouble
from ensembles_api.names import FINALIZER, LABEL_ROLE
from ensembles_api.reasons import Nature, Reason
from ensembles_api.spec import DeletionPolicy

NODES_RETRY = timedelta(seconds=30)
"""Nodes are not watched: so often they are asked which GPUs they have."""


def plan(observation: Observation, config: OperatorConfig) -> Plan:
    """What to do now, what to report, when to look again."""
    observation = _own(observation)
    if observation.deleting_since is not None:
        return delete(observation, config)
    pinned = pinned_revision(observation)
    # What is pinned is served as it was recorded, even where the rest of the spec cannot be resolved now.
    resolved = resolve(observation, config) if pinned is None else None
    desired = resolved if isinstance(resolved, Desired) else None
    trouble = resolved if isinstance(resolved, Trouble) else None
    building = build(observation, desired, config) if desired else None
    if pinned is not None:
        building = pin(observation, pinned)
    wanted = building.wanted if building else None
    superseded = wanted is None and _asks_for_another(observation, building, trouble)
    serving = serve(observation, config, observation.spec, wanted, superseded=superseded)
    yielding = gives_way(observation, building, serving)
    if yielding is not None:
        serving = serve(
            observation, config, observation.spec, wanted, superseded=superseded, yielding=yielding
        )
    serving = routed(observation, serving)
    ended = yielding.ended if yielding else frozenset()
    scaling = autoscale(observation, serving, ended=ended)
    if scaling.trouble is not None and serving.done:
        serving = replace(serving, trouble=scaling.trouble)
    serving = replace(serving, trouble=_located(observation, serving.trouble))
    if pinned is not None:
        serving = told(serving)
    if building is not None:
        serving = replace(serving, trouble=explained(observation, building, serving.trouble))
        building_trouble = _located(observation, building.trouble)
        building = replace(building, trouble=explained(observation, building, building_trouble))
        building = told_of(building, ended)
    suspended = observation.spec is not None and observation.spec.suspend
    if suspended:
        return _report(observation, building, serving, trouble, actions=(), suspended=True)
    actions = (
        *_finalizer(observation),
        *(building.actions if building else ()),
        *scaling.first,
        *serving.actions,
        *verified.notes(observation),
        *litter(
            observation,
            inputs=desired.inputs if desired else None,
            building=building,
            serving=serving,
        ),
    )
    pruning = PruneOutcome()
    if observation.spec is not None and building is not None:
        surplus = beyond_history(observation, observation.spec, serving)
        pruning = prune_history(observation, observation.spec, config, surplus)
    actions = _once((*actions, *pruning.actions, *scaling.last))
    return _report(observation, building, serving, trouble, actions=actions, pruning=pruning, suspended=False)


def _located(observation: Observation, trouble: Trouble | None) -> Trouble | None:
    """The trouble, with the field of the spec that names what is missing."""
    return claims.located(observation.spec, secrets.located(observation.spec, trouble))


def _asks_for_another(
    observation: Observation, building: BuildOutcome | None, trouble: Trouble | None
) -> bool:
    """Whether the spec asks for a rollout that is not there: artifacts must be built first, or somebody must
    mend it.
    """
    if building is not None:
        trouble = trouble or building.trouble
    lasting = replace(trouble, since=conditions.failing_since(observation, trouble)) if trouble else None
    stalled = lasting is not None and lasting.stalled(observation.now)
    return stalled or (building is not None and building.anew)


def _own(observation: Observation) -> Observation:
    """Without what a deleted resource of this name has left to the garbage collector, and without Deployments
    that only bear our labels; the pods of these, which a Service may select, are strays.
    """
    ours = tuple(d for d in observation.deployments if observation.uid in d.owners)
    theirs = [d for d in observation.deployments if observation.uid not in d.owners]
    return replace(
        observation,
        deployments=ours,
        strays=(*observation.strays, *(replace(pod, owned=False) for d in theirs for pod in d.pods)),
        rollouts=tuple(rollout for rollout in observation.rollouts if rollout.data.uid == observation.uid),
        jobs=tuple(
            job
            for job in observation.jobs
            if observation.uid in job.owners or job.labels.get(LABEL_ROLE) in {"build", "prune"}
        ),
    )


def _once(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """The lanes may agree on a deletion: ask once."""
    seen: list[Action] = []
    for action in actions:
        if not (isinstance(action, Delete) and action in seen):
            seen.append(action)
    return tuple(seen)


def _finalizer(observation: Observation) -> tuple[Action, ...]:
    if observation.spec is None:
        return ()
    wanted = observation.spec.deletion_policy is DeletionPolicy.DELETE
    present = FINALIZER in observation.finalizers
    return () if wanted == present else (SetFinalizer(present=wanted),)


def _report(
    observation: Observation,
    building: BuildOutcome | None,
    serving: ServeOutcome,
    trouble: Trouble | None,
    *,
    actions: tuple[Action, ...],
    pruning: PruneOutcome | None = None,
    suspended: bool,
) -> Plan:
    summary = conditions.summarise(building, serving, trouble, suspended=suspended)
    summary = replace(summary, pruning=pruning.trouble if pruning else None)
    since = conditions.failing_since(observation, summary.trouble)
    if summary.trouble is not None and summary.trouble.since is None:
        summary = replace(summary, trouble=replace(summary.trouble, since=since))
    stalled = summary.trouble is not None and summary.trouble.stalled(observation.now)
    return Plan(
        actions=actions,
        status=conditions.status(observation, summary, stalled=stalled, since=since),
        events=conditions.events(observation, summary),
        wake=None if suspended else _wake(observation, (building, serving, pruning), summary.trouble, since),
        labels={"stage": "Stalled" if stalled else summary.reason.value, "reason": summary.reason.value},
    )


def _wake(
    observation: Observation,
    lanes: tuple[BuildOutcome | None, ServeOutcome, PruneOutcome | None],
    trouble: Trouble | None,
    since: datetime | None,
) -> datetime | None:
    building, _, _ = lanes
    times = [lane.wake for lane in lanes if lane]
    if trouble is not None and trouble.nature is Nature.GRACE and since is not None:
        times.append(since + GRACE + timedelta(seconds=1))
        times.append(observation.now + STALLED_RETRY)
    if trouble is not None and trouble.reason in {Reason.GPU_UNKNOWN, Reason.GPU_AMBIGUOUS}:
        times.append(observation.now + NODES_RETRY)
    if building is not None and building.step is Reason.ASSEMBLING and not building.trouble:
        times.append(
            observation.now + timedelta(seconds=30)
        )  # a Job without a pod tells why only after a while
    # What is due was done in this pass, or waits for news: a time that is past would call at once, for ever.
    return min((time for time in times if time is not None and time > observation.now), default=None)


def report_failure(observation: Observation, *, reason: Reason, field: str, message: str) -> Plan:
    """The status where an action failed in a way the user or the cluster must mend; nothing else changes."""
    trouble = Trouble(reason, message, field=field)
    if observation.deleting_since is not None:
        return leaving(observation, trouble)
    serving = serve_nothing(observation)
    return _report(observation, None, serving, trouble, actions=(), suspended=False)


def serve_nothing(observation: Observation) -> ServeOutcome:
    """Lane B's view without any action, for a status that must still tell what serves."""
    return ServeOutcome(history.active_rollout(observation), None, Reason.PENDING, "")
