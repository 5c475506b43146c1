"""Canary: the new servers get a share of the requests, step by step; all of the old ones stay until the last.

Where it stands is noted on the rollout's record: the step, since when clients get its share, and a digest of
the steps before. Where the spec has others than these by now, or none at its place, it begins anew.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ensemble_operator.names import digest
from ensemble_operator.plan.actions import Annotate
from ensemble_operator.plan.analysing import analysis_verdict
from ensemble_operator.plan.bringing_up import bring_up, hold
from ensemble_operator.plan.failing import mark_failed
from ensemble_operator.plan.promotion import promote
from ensemble_operator.plan.replicas import Replicas, servers
from ensemble_operator.plan.routing import weigh, weights_for
from ensemble_operator.plan.serving_pods import awaited, pods_trouble
from ensemble_operator.plan.sharing import Standing, known_servers, servers_for, share, standing
from ensemble_operator.plan.stage import ServeOutcome, Stage, Weights
from ensemble_operator.plan.strategies import blue_green
from ensemble_operator.resources.rollout import (
    ANNOTATION_APPROVED_BEFORE,
    ANNOTATION_STEP,
    ANNOTATION_STEP_SINCE,
    ANNOTATION_STEPS,
)
from ensembles_api.names import ANNOTATION_PROMOTE
from ensembles_api.reasons import Reason
from ensembles_api.spec.rollout import CanaryStep

FULL = "full"
ALL = 100
"""Percent of the requests."""
EVERY = 1000
"""More steps than a canary may have."""


def advance(stage: Stage) -> ServeOutcome:
    """The first step's servers, verified; then step after step; then all of them, and the Service moves."""
    steps = stage.settings.canary.steps if stage.settings.canary else []
    if stage.active is None or not stage.replicas or not steps:
        return blue_green.advance(stage)
    at = standing(stage.rollout)
    if at is None:
        first = _servers(stage, steps[0].weight)
        message = f"step 1 of {len(steps)}: new servers take requests"
        begun = bring_up(stage, servers=first) or (None if stage.spec.gateway else share(stage, message))
        return begun or _enter(stage, 1)
    stage = replace(stage, weights=None)
    if _approved(stage) is None:
        return _all(stage, at, len(steps))
    if not _knows(stage, at, steps):
        return _begin_anew(stage, steps)
    return _all(stage, at, len(steps)) if at.step > len(steps) else _step(stage, at, steps)


def held_weights(stage: Stage) -> Weights | None:
    """What routes say in a pause: the share that clients have had, though somebody edits or deletes a route;
    None: what they say now.
    """
    at, steps = standing(stage.rollout), stage.settings.canary.steps if stage.settings.canary else []
    if at is None or at.since is None or at.step > len(steps) or not _knows(stage, at, steps):
        return None
    return weights_for(stage, steps[at.step - 1].weight) if stage.spec.gateway else None


def _knows(stage: Stage, at: Standing, steps: list[CanaryStep]) -> bool:
    """Whether what was passed is what the spec says, and the present share is that of the present step."""
    noted = stage.rollout.annotations.get(ANNOTATION_STEPS) if stage.rollout else None
    return not noted or noted == _passed(steps, at.step)


def _passed(steps: list[CanaryStep], step: int) -> str:
    """Digest of the steps before this one, and of its weight. Without defaults: a field that a later operator
    knows shall begin no canary anew.
    """
    before = [passed.model_dump(mode="json", exclude_defaults=True) for passed in steps[: step - 1]]
    return digest([before, [present.weight for present in steps[step - 1 : step]]])


def _begin_anew(stage: Stage, steps: list[CanaryStep]) -> ServeOutcome:
    """Nobody approved of these steps, and nothing was measured at them."""
    approval = {ANNOTATION_APPROVED_BEFORE: stage.observation.annotations.get(ANNOTATION_PROMOTE, "")}
    note = {**_standing_at(steps, 1), **approval}
    return _note(stage, "steps that were passed have changed: the canary begins anew", note)


def _standing_at(steps: list[CanaryStep], step: int) -> dict[str, str]:
    return {ANNOTATION_STEP: str(step), ANNOTATION_STEP_SINCE: "", ANNOTATION_STEPS: _passed(steps, step)}


def _all(stage: Stage, at: Standing, steps: int) -> ServeOutcome:
    if at.step <= steps:
        return _enter(stage, steps + 1)
    return _reach(stage, ALL, "all steps are done") or promote(replace(stage, weights={stage.hash: ALL}))


def _step(stage: Stage, at: Standing, steps: list[CanaryStep]) -> ServeOutcome:
    step = steps[at.step - 1]
    title = f"step {at.step} of {len(steps)}, {step.weight} %"
    waiting = _reach(stage, step.weight, title)
    if waiting is not None:
        return waiting
    if at.since is None:
        return _note(stage, title, {ANNOTATION_STEP_SINCE: stage.observation.now.isoformat()})
    return _measured(stage, at, step, title) or _enter(stage, at.step + 1)


def _measured(stage: Stage, at: Standing, step: CanaryStep, title: str) -> ServeOutcome | None:
    """What the step still waits for: its time, its analysis, somebody's approval."""
    assert at.since is not None  # noqa: S101 - clients get the step's share
    until = at.since + timedelta(seconds=step.pause_seconds)
    if step.analyse_seconds:
        verdict = analysis_verdict(stage, step=at.step, seconds=step.analyse_seconds, since=at.since)
        if verdict.failed is not None and stage.rollout is not None:
            return mark_failed(stage, stage.rollout, verdict.failed)
        if not verdict.passed:
            message = f"{title}: new and old servers are measured"
            return stage.outcome(
                Reason.STEPPING, message, *verdict.actions, trouble=verdict.wait, wake=verdict.wake
            )
    if until > stage.observation.now:
        return stage.outcome(Reason.STEPPING, f"{title}: until {until:%H:%M:%S}Z", wake=until)
    approved = _approved(stage)
    if step.wait_for_approval and approved is not None and approved < at.step:
        return stage.outcome(
            Reason.STEPPING, f"{title}: waits for approval, kubectl ensemble promote {stage.observation.name}"
        )
    return None


def _reach(stage: Stage, weight: int, title: str) -> ServeOutcome | None:
    """The next step towards the new servers getting a share of the requests; None once they get it.

    Without a Gateway their number is their share.
    """
    coming = f"{title}: new servers come"
    if stage.spec.gateway:
        # Where the share is less than before, servers go only after the routes have left them.
        begun = _gather(stage, weight, coming, all_stay=True) or weigh(stage, weight, title)
        return begun or _gather(stage, weight, coming)
    sharing = None if weight == ALL else share(stage, title)
    return sharing or _gather(stage, weight, coming)


def _servers(stage: Stage, weight: int) -> Replicas:
    scaling = stage.spec.autoscaling if stage.spec.gateway is None else None
    if scaling is not None:
        return _beside_scaled(stage, weight, most=scaling.max_replicas)
    if weight == ALL:
        return stage.replicas
    if stage.spec.gateway is None:
        return servers_for(stage.replicas, weight=weight)
    counts = stage.replicas.by_target.items()
    return replace(stage.replicas, by_target={name: -(-count * weight // ALL) for name, count in counts})


def _beside_scaled(stage: Stage, weight: int, *, most: int) -> Replicas:
    """Where an autoscaler has the old servers, and shares are numbers: they follow what it makes of these.

    All servers carry the load alike, so those of both rollouts together are what it takes: in the end, when
    the old ones go, as many new ones.
    """
    live = servers(stage.observation, stage.active) if stage.active else {}
    own, floor = servers(stage.observation, stage.hash), stage.replicas.floor
    counts = {
        target: max(floor, live[target]) if target in live else count
        for target, count in stage.replicas.by_target.items()
    }
    old = replace(stage.replicas, by_target=counts)
    if weight != ALL:
        return servers_for(old, weight=weight)
    steps = stage.settings.canary.steps if stage.settings.canary else []
    shared = servers_for(old, weight=steps[-1].weight)
    together = {target: max(own.get(target, 0), old.of(target) + shared.of(target)) for target in counts}
    return replace(old, by_target={target: min(most, count) for target, count in together.items()})


def _gather(stage: Stage, weight: int, message: str, *, all_stay: bool = False) -> ServeOutcome | None:
    """The next step towards the servers of a share; None once every node routes to all of them. `all_stay`:
    none goes, though there may be more.
    """
    wanted = _servers(stage, weight)
    there = servers(stage.observation, stage.hash) if all_stay else {}
    counts = {target: max(count, there.get(target, 0)) for target, count in wanted.by_target.items()}
    going_on = hold(stage, replace(wanted, by_target=counts))
    if going_on is not None:
        return going_on
    known = known_servers(stage.observation, stage.hash)
    if known.are(wanted):
        return None
    trouble = pods_trouble(stage.observation, stage.hash)
    message += awaited(stage.observation, stage.hash)
    return stage.outcome(Reason.STEPPING, message, trouble=trouble, wake=known.wake)


def _enter(stage: Stage, step: int) -> ServeOutcome:
    steps = stage.settings.canary.steps if stage.settings.canary else []
    return _note(stage, f"step {step} begins", _standing_at(steps, step))


def _note(stage: Stage, message: str, note: dict[str, str]) -> ServeOutcome:
    rollout = stage.rollout
    assert rollout is not None  # noqa: S101 - its servers were brought up
    written = Annotate("ControllerRevision", rollout.name, rollout.uid, note)
    return stage.outcome(Reason.STEPPING, message, written, wake=stage.observation.now + timedelta(seconds=1))


def _approved(stage: Stage) -> int | None:
    """The last step that somebody has approved, 0 for none; None: all the requests at once."""
    approval = stage.observation.annotations.get(ANNOTATION_PROMOTE, "")
    rollout, _, what = approval.partition("@")[0].partition("/")
    before = stage.rollout.annotations.get(ANNOTATION_APPROVED_BEFORE) if stage.rollout else None
    if rollout != stage.hash or approval == before:
        return 0
    if what == FULL:
        return None
    if not what:
        return EVERY
    return int(what) if what.isdecimal() else 0
