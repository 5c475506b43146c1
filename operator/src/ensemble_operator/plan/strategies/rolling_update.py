"""RollingUpdate: a few verified new servers take requests beside the old, which go as more new ones come.

The numbers of the Deployments are its only memory: each pass goes on from what they are.
"""

from __future__ import annotations

from dataclasses import replace

from ensemble_operator.plan.bringing_up import bring_up, hold
from ensemble_operator.plan.pacing import Pace
from ensemble_operator.plan.promotion import promote
from ensemble_operator.plan.replicas import Replicas, servers
from ensemble_operator.plan.serving_pods import awaited, pods_trouble
from ensemble_operator.plan.sharing import known_servers, share, taking_over
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.plan.strategies import blue_green
from ensembles_api.reasons import Reason


def advance(stage: Stage) -> ServeOutcome:
    """The first servers, verified; a share; then number after number."""
    if stage.active is None or not stage.replicas:
        return blue_green.advance(stage)
    if taking_over(stage.observation) != stage.hash:
        limits = stage.settings.rolling_update
        first = {target: Pace.of(limits, count).first() for target, count in stage.replicas.by_target.items()}
        return (
            bring_up(stage, servers=replace(stage.replicas, by_target=first))
            or share(stage, "the first new servers take requests")
            or _step(stage)
        )
    return _step(stage)


def active_servers(stage: Stage, whole: Replicas) -> Replicas:
    """How many servers the old rollout keeps just now, of the `whole` number that it had alone."""
    assert stage.active is not None  # noqa: S101 - there are old servers
    sharing = taking_over(stage.observation) == stage.hash
    known = known_servers(stage.observation, stage.hash)
    live = servers(stage.observation, stage.active)
    counts, limits = {}, stage.settings.rolling_update
    for target, count in whole.by_target.items():
        pace = Pace.of(limits, count)
        if target not in stage.replicas.by_target:
            counts[target] = count  # nothing takes its place before all of the new servers are there
        elif sharing:
            # By the number that the new servers come to: where it is less, none of the old may wait for more.
            pace = Pace.of(limits, min(count, stage.replicas.by_target[target]))
            counts[target] = pace.leaving(present=live.get(target, count), known=known.of(target))
        else:
            counts[target] = pace.at_first()
    return replace(whole, by_target=counts)


def _step(stage: Stage) -> ServeOutcome:
    assert stage.active is not None  # noqa: S101 - there are old servers
    new, old = servers(stage.observation, stage.hash), servers(stage.observation, stage.active)
    limits = stage.settings.rolling_update
    counts = {
        target: Pace.of(limits, count).incoming(present=new.get(target, 0), leaving=old.get(target, 0))
        for target, count in stage.replicas.by_target.items()
    }
    wanted, known = replace(stage.replicas, by_target=counts), known_servers(stage.observation, stage.hash)
    going_on = hold(stage, wanted)
    if going_on is not None:
        return going_on
    gone = not any(old.get(target, 0) for target in stage.replicas.by_target)
    if gone and known.are(stage.replicas):
        return promote(stage)
    total = sum(min(known.of(target), count) for target, count in stage.replicas.by_target.items())
    message = f"{total} of {stage.replicas.total} servers are new"
    message += awaited(stage.observation, stage.hash)
    trouble = pods_trouble(stage.observation, stage.hash)
    return stage.outcome(Reason.STEPPING, message, trouble=trouble, wake=known.wake)
