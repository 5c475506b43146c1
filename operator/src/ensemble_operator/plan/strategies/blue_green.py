"""BlueGreen: all new servers beside all old ones, then the Service moves; the old stay for a while."""

from __future__ import annotations

from ensemble_operator.plan.bringing_up import bring_up
from ensemble_operator.plan.promotion import promote
from ensemble_operator.plan.stage import ServeOutcome, Stage


def advance(stage: Stage) -> ServeOutcome:
    return bring_up(stage, servers=stage.replicas) or promote(stage)
