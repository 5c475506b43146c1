"""Recreate: the old servers end before the new ones are started.

Where the new ones cannot start `gpu_busy` brings the old ones back, as those that gave a GPU away.
"""

from __future__ import annotations

from ensemble_operator.plan.bringing_up import record
from ensemble_operator.plan.healing import deployments_of
from ensemble_operator.plan.leaving import named, overdue_at
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.plan.strategies import blue_green
from ensembles_api.reasons import Reason


def advance(stage: Stage) -> ServeOutcome:
    """Wait for the last of the old servers' pods, which holds its GPU until it has drained."""
    old, now = deployments_of(stage.observation, stage.active) if stage.active else [], stage.observation.now
    pods = [pod for deployment in old for pod in deployment.pods if not pod.ended]
    there = pods or any(deployment.replicas for deployment in old)
    if stage.rollout is not None and not (stage.replicas and there):
        return blue_green.advance(stage)
    begun = [record(stage)] if stage.rollout is None else []
    message = f"the old servers end before new ones are started{named(pods, now)}"
    return stage.outcome(Reason.ROLLING_OUT, message, *begun, wake=overdue_at(pods, now))
