"""New servers measured against old ones under the clients' requests: what a step of a canary waits for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ensemble_operator.plan.actions import Action
from ensemble_operator.plan.stage import Stage
from ensemble_operator.plan.trouble import Trouble
from ensembles_api.reasons import Reason


@dataclass(frozen=True)
class AnalysisVerdict:
    """Exactly one of passed, failed and wait."""

    passed: bool = False
    failed: Trouble | None = None
    """The new servers are worse than allowed, with figures: the rollout is marked failed and taken back."""
    wait: Trouble | None = None
    """Measuring goes on, found too few requests, or is itself in trouble: the step stays as it is."""
    actions: tuple[Action, ...] = ()
    """The Job to create now."""
    wake: datetime | None = None


def analysis_verdict(stage: Stage, *, step: int, seconds: int, since: datetime) -> AnalysisVerdict:
    """What measuring the servers of `stage.hash` against those of `stage.active` for `seconds` says.

    Args:
        stage: both rollouts serve; the bounds are `stage.settings.analysis`.
        step: 1 for the first of spec.rollout.canary.steps; a step is measured on its own.
        seconds: its analyseSeconds, more than 0.
        since: when clients began to get the step's share from the new servers; what was measured before
            that says nothing.
    """
    trouble = Trouble(
        Reason.NOT_SUPPORTED,
        f"servers of {stage.hash} cannot be measured yet; leave it out to go on",
        field=f"spec.rollout.canary.steps[{step - 1}].analyseSeconds",
    )
    return AnalysisVerdict(wait=trouble, wake=since + timedelta(seconds=seconds))
