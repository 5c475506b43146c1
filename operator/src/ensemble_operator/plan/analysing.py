"""New servers measured against old ones under the clients' requests: what a step of a canary waits for.

A Job for each measurement, judged when it ends. Its name is made of rollout, step and attempt, so an operator
that is killed finds it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ensemble_operator.config import OperatorConfig
from ensemble_operator.names import ANNOTATION_MEASURED_SINCE, ANNOTATION_STEP
from ensemble_operator.plan.actions import Action, Create
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.jobs import Running, Succeeded, attempt_of, judge, newest, of_rollout
from ensemble_operator.plan.observation import Observation
from ensemble_operator.plan.stage import Stage
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import Measurement, analyse_job
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.contract import AnalysisFigures, Traffic
from ensembles_api.reasons import Nature
from ensembles_api.spec import Analysis

WATCH_STEP = "w"
"""`Measurement.step` of the time after promotion; those of a canary are numbers."""


@dataclass(frozen=True)
class AnalysisVerdict:
    """At most one of passed, failed and wait; with none of them the measurement runs, or begins now."""

    passed: bool = False
    failed: Trouble | None = None
    """The new servers are worse than allowed, with figures: the rollout is marked failed and taken back."""
    wait: Trouble | None = None
    """Too few requests, or the Job is in trouble of its own: the step stays, and is measured again."""
    figures: str = ""
    """Of a measurement that was passed."""
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
    rollout = stage.rollout
    measurement = Measurement(
        rollout=stage.hash, against=stage.active, step=str(step), seconds=seconds, since=since
    )
    return measured(
        stage.observation,
        stage.config,
        rollout.data if rollout else stage.wanted,
        measurement=measurement,
        bounds=stage.settings.analysis or Analysis(),
    )


def measured(
    observation: Observation,
    config: OperatorConfig,
    data: RolloutData,
    *,
    measurement: Measurement,
    bounds: Analysis,
) -> AnalysisVerdict:
    """How a measurement stands; its first Job, or the next attempt, is among the actions.

    Args:
        observation: where the Job is looked for.
        config: the operator's images.
        data: of the rollout that is measured.
        measurement: what is compared, at which step.
        bounds: spec.rollout.analysis.
    """

    def begin(attempt: int, trouble: Trouble | None = None) -> tuple[Action, ...]:
        manifest: Mapping[str, Any] = analyse_job(
            owner=owner_of(observation),
            data=data,
            config=config,
            measurement=measurement,
            bounds=bounds,
            attempt=attempt,
            first_failure=trouble.since if trouble else None,
        )
        return (Create(manifest),)

    jobs = of_rollout(observation, "analyse", measurement.rollout)
    job = newest(job for job in jobs if job.annotations.get(ANNOTATION_STEP) == measurement.step)
    if job is None:
        return AnalysisVerdict(actions=begin(1))
    if job.annotations.get(ANNOTATION_MEASURED_SINCE) != measurement.since.isoformat():
        return AnalysisVerdict(actions=begin(attempt_of(job) + 1))
    verdict = judge(job, now=observation.now)
    if isinstance(verdict, Succeeded):
        figures = verdict.result.analysis
        return AnalysisVerdict(passed=True, figures=described(figures) if figures else "")
    if isinstance(verdict, Running):
        return AnalysisVerdict(wait=verdict.wait)
    trouble = verdict.trouble
    if trouble.retry_at is None and trouble.nature is Nature.USER:
        return AnalysisVerdict(failed=trouble)
    due = trouble.retry_at is not None and trouble.retry_at <= observation.now
    again = begin(attempt_of(job) + 1, trouble) if due else ()
    return AnalysisVerdict(wait=trouble, actions=again, wake=trouble.retry_at)


def described(figures: AnalysisFigures) -> str:
    """The figures of a measurement, for a condition or an annotation."""
    return f"new: {_described(figures.new)}; old: {_described(figures.old)}; in {figures.seconds} s"


def _described(traffic: Traffic) -> str:
    if not traffic.requests:
        return "no requests"
    return f"{traffic.failures} of {traffic.requests} requests failed, {traffic.mean_us / 1000:.1f} ms"
