"""Measurements of a rollout under traffic: one Job after the other, until there is a verdict."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ensemble_operator.plan.actions import Create
from ensemble_operator.plan.analysing import WATCH_STEP, AnalysisVerdict, measured
from ensemble_operator.plan.jobs import attempt_of
from ensemble_operator.plan.observation import JobSeen, Observation
from ensemble_operator.resources.jobs import Measurement
from ensembles_api.contract import AnalysisFigures, Result, Traffic
from ensembles_api.reasons import Reason
from ensembles_api.spec import Analysis
from tests.unit.plan.story import Story
from tests.unit.plan.world import CONFIG, T0, fault, job_seen, observation

FIGURES = AnalysisFigures(
    new=Traffic(requests=40, failures=0, mean_us=6100), old=Traffic(requests=400, mean_us=6000), seconds=60
)
PASSED = Result(analysis=FIGURES)


class Stand:
    """One rollout that serves, and its measurement."""

    def __init__(self) -> None:
        story = Story()
        story.until_ready()
        self.rollout = story.seen.rollouts[0]
        self.seen: Observation = replace(observation(now=T0), rollouts=(self.rollout,))
        self.measurement = Measurement(rollout="new00000", against="old00000", step="1", seconds=60, since=T0)

    def look(self, seconds: float = 0) -> AnalysisVerdict:
        self.seen = replace(self.seen, now=self.seen.now + timedelta(seconds=seconds))
        verdict = measured(
            self.seen, CONFIG, self.rollout.data, measurement=self.measurement, bounds=Analysis()
        )
        for action in verdict.actions:
            assert isinstance(action, Create)
            self.seen = replace(self.seen, jobs=(*self.seen.jobs, job_seen(action.manifest)))
        return verdict

    @property
    def newest(self) -> JobSeen:
        return max(self.seen.jobs, key=attempt_of)

    def end(self, result: Result, state: str = "succeeded") -> None:
        job = self.newest
        manifest = {"metadata": {"name": job.name, "labels": job.labels, "annotations": job.annotations}}
        ended = job_seen(manifest, state, result=result, finished=self.seen.now)
        self.seen = replace(self.seen, jobs=(*(j for j in self.seen.jobs if j is not job), ended))


@pytest.fixture
def stand() -> Stand:
    return Stand()


def test_the_first_look_begins_a_measurement_and_the_next_waits_for_it(stand: Stand) -> None:
    first = stand.look()
    assert [action.manifest["kind"] for action in first.actions if isinstance(action, Create)] == ["Job"]
    assert stand.look(30) == AnalysisVerdict()
    assert stand.newest.name.endswith("-anl-new00000-1-1")


def test_kept_bounds_pass_with_the_figures(stand: Stand) -> None:
    stand.look()
    stand.end(PASSED)
    verdict = stand.look(60)
    assert verdict.passed
    assert verdict.figures == (
        "new: 0 of 40 requests failed, 6.1 ms; old: 0 of 400 requests failed, 6.0 ms; in 60 s"
    )
    assert stand.look(600) == verdict, "one verdict for each step"


def test_exceeded_bounds_fail_and_are_not_measured_again(stand: Stand) -> None:
    stand.look()
    stand.end(
        fault(Reason.ANALYSIS_FAILED, "5.0 points more", "spec.rollout.analysis.maxErrorPercent"), "failed"
    )
    verdict = stand.look(60)
    assert verdict.failed is not None
    assert verdict.failed.stalled(stand.seen.now)
    assert verdict.failed.text() == "spec.rollout.analysis.maxErrorPercent: 5.0 points more"
    assert stand.look(3600) == verdict


def test_too_few_requests_are_no_verdict_and_are_measured_again(stand: Stand) -> None:
    stand.look()
    few = fault(Reason.ANALYSIS_INCONCLUSIVE, "3 requests", "spec.rollout.analysis.minRequests")
    stand.end(few, "failed")
    waiting = stand.look(1)
    assert waiting.wait is not None
    assert not waiting.wait.stalled(stand.seen.now)
    assert waiting.actions == ()
    assert waiting.wake is not None
    again = stand.look(10)
    assert again.wait is not None
    assert again.wait.reason is Reason.ANALYSIS_INCONCLUSIVE
    assert attempt_of(stand.newest) == 2
    stand.end(PASSED)
    assert stand.look(60).passed


def test_a_lost_pod_is_nobodys_fault(stand: Stand) -> None:
    stand.look()
    stand.end(fault(Reason.POD_LOST, "evicted", ""), "failed")
    assert stand.look(1).wait is not None
    assert stand.look(10).actions
    assert attempt_of(stand.newest) == 2


def test_what_was_measured_before_the_share_began_says_nothing(stand: Stand) -> None:
    stand.look()
    stand.end(PASSED)
    stand.measurement = replace(stand.measurement, since=T0 + timedelta(seconds=100))
    verdict = stand.look(100)
    assert not verdict.passed
    assert attempt_of(stand.newest) == 2
    assert stand.look(1) == AnalysisVerdict()


def test_each_step_is_measured_on_its_own(stand: Stand) -> None:
    stand.look()
    stand.end(PASSED)
    stand.measurement = replace(stand.measurement, step="2")
    assert not stand.look().passed
    stand.measurement = replace(stand.measurement, step=WATCH_STEP, against=None)
    watching = stand.look()
    assert isinstance(watching.actions[0], Create)
    arguments = watching.actions[0].manifest["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--old" not in arguments


def test_a_rollout_that_is_gone_leaves_no_measurement_behind() -> None:
    stand = Stand()
    stand.look()
    story = Story()
    story.until_ready()
    story.seen = replace(story.seen, jobs=(*story.seen.jobs, stand.newest))
    story.seen = replace(
        story.seen, jobs=tuple(replace(j, owners=(story.seen.uid,)) for j in story.seen.jobs)
    )
    story.step()
    assert stand.newest.name not in {job.name for job in story.seen.jobs}
