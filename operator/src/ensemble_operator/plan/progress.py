"""How far the wanted rollout has come in taking over, for the status."""

from __future__ import annotations

from datetime import datetime

from ensemble_operator.plan.healing import deployments_of
from ensemble_operator.plan.sharing import Standing, standing
from ensemble_operator.plan.stage import Stage
from ensembles_api.spec.rollout import CanaryStep, Strategy
from ensembles_api.status import RolloutProgress


def progress(stage: Stage) -> RolloutProgress | None:
    """None before there is a rollout."""
    if stage.rollout is None:
        return None
    servers = deployments_of(stage.observation, stage.hash)
    strategy = stage.settings.strategy
    steps = stage.settings.canary.steps if stage.settings.canary and strategy is Strategy.CANARY else []
    at = standing(stage.rollout) if steps else None
    return RolloutProgress(
        rollout=stage.hash,
        revision=stage.wanted.revision,
        strategy=strategy.value,
        servers=f"{sum(d.ready_replicas for d in servers)}/{sum(d.replicas for d in servers)}",
        step=at.step if at else None,
        steps=len(steps) or None,
        weight=_weight(at, steps) if at else None,
        since=_text(at.since) if at else None,
    )


def _weight(at: Standing, steps: list[CanaryStep]) -> int:
    return steps[at.step - 1].weight if at.step <= len(steps) else 100


def _text(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
