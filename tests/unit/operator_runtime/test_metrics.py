from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest

from ensemble_operator.metrics.collectors import EnsembleCollector, QueueCollector, QueueFigures
from ensemble_operator.metrics.families import Metrics
from ensemble_operator.metrics.jobs import JobCounts
from ensemble_operator.metrics.transitions import Transitions
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.plan.actions import Annotate, Plan
from ensemble_operator.plan.observation import ContainerSeen, JobSeen, JobState, Observation, PodSeen

START = datetime(2026, 11, 21, tzinfo=UTC)
DOCS = Path(__file__).parents[3] / "docs" / "observability.md"


def observation(*jobs: JobSeen, **changes: Any) -> Observation:
    base = Observation(
        now=START,
        namespace="n",
        name="demo",
        uid="u",
        generation=1,
        annotations={},
        finalizers=(),
        deleting_since=None,
        spec=None,
        spec_error=None,
        status={},
        jobs=jobs,
    )
    return replace(base, **changes)


def assemble(uid: str, *, ended: datetime | None, message: str, number: str = "1") -> JobSeen:
    container = ContainerSeen(name="assemble", exit_code=0, termination_message=message)
    return JobSeen(
        name=uid,
        uid=uid,
        labels={"ensembles.dev/role": "assemble"},
        annotations={"ensembles.dev/round": number},
        state="succeeded" if ended else "active",
        created=START,
        finished_at=ended,
        pods=(PodSeen(name="p", uid="p", labels={}, phase="Succeeded", containers=(container,)),),
    )


def engine(uid: str, *, state: JobState = "active", finished: datetime | None = None, **pod: Any) -> JobSeen:
    seen = PodSeen(name="p", uid="p", labels={}, phase="Running", devices=("nvidia.com/gpu",), **pod)
    return JobSeen(
        name=f"build-tensorrt-{uid}-1",
        uid=uid,
        labels={"ensembles.dev/role": "build"},
        annotations={},
        state=state,
        created=START,
        finished_at=finished,
        owners=("u",),
        pods=(seen,),
    )


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"ensemble_operator_{name}", labels) or 0.0


def test_each_job_is_counted_once() -> None:
    metrics = Metrics()
    counts = JobCounts(metrics, since=START)
    ended = START + timedelta(seconds=7)
    seen = observation(
        assemble("first", ended=ended, message='{"contract":1,"cached":3,"saved_gpu_seconds":90.5}'),
        assemble(
            "second", ended=ended, message='{"contract":1,"cached":5,"saved_gpu_seconds":1}', number="2"
        ),
        assemble("third", ended=ended, message=f'{{"contract":1,"revision":"{"a" * 64}"}}', number="3"),
        assemble("running", ended=None, message=""),
        assemble("garbled", ended=ended, message="not JSON"),
    )
    counts.seen(seen)
    counts.seen(seen)
    assert value(metrics, "builds_avoided_total") == 3, "later rounds find what was just built"
    assert value(metrics, "build_gpu_seconds_saved_total") == 90.5
    labels = {"role": "assemble", "kind": "", "result": "succeeded"}
    assert value(metrics, "job_seconds_count", **labels) == 3
    assert value(metrics, "job_seconds_sum", **labels) == 21
    assert value(metrics, "job_seconds_count", role="publish", kind="", result="succeeded") == 1


def test_jobs_that_ended_under_another_leader_are_not_counted_again() -> None:
    metrics = Metrics()
    counts = JobCounts(metrics, since=START)
    ended = START + timedelta(seconds=7)
    counts.lead(START + timedelta(hours=1))
    counts.seen(observation(assemble("old", ended=ended, message='{"contract":1,"cached":3}')))
    assert value(metrics, "builds_avoided_total") == 0


def test_a_build_counts_though_it_is_deleted_before_its_condition_says_that_it_ended() -> None:
    metrics = Metrics()
    counts = JobCounts(metrics, since=START)
    upload = ContainerSeen(name="upload", exit_code=0, finished_at=START + timedelta(seconds=100))
    job = engine("k", started_at=START + timedelta(seconds=40), containers=(upload,))
    counts.seen(observation(job))
    counts.cancelled(job, START + timedelta(seconds=200))
    labels = {"role": "build", "kind": "tensorrt", "result": "succeeded"}
    assert value(metrics, "job_seconds_sum", **labels) == 100
    assert value(metrics, "build_gpu_seconds_total", kind="tensorrt") == 60, "waiting for a node costs no GPU"


def test_a_cancelled_build_has_cost_its_gpu_until_then() -> None:
    metrics = Metrics()
    counts = JobCounts(metrics, since=START)
    compiling = ContainerSeen(name="compile", running=True)
    job = engine("k", started_at=START + timedelta(seconds=40), containers=(compiling,))
    counts.seen(observation(job))
    assert value(metrics, "build_gpu_seconds_total", kind="tensorrt") == 0
    counts.cancelled(job, START + timedelta(seconds=70))
    labels = {"role": "build", "kind": "tensorrt", "result": "cancelled"}
    assert value(metrics, "job_seconds_count", **labels) == 1
    assert value(metrics, "build_gpu_seconds_total", kind="tensorrt") == 30


def test_a_build_that_never_got_a_node_costs_nothing() -> None:
    metrics = Metrics()
    JobCounts(metrics, since=START).cancelled(engine("k"), START + timedelta(hours=1))
    assert value(metrics, "build_gpu_seconds_total", kind="tensorrt") == 0


def status(reason: str, *, ready: bool = False, since: datetime = START, **fields: Any) -> dict[str, Any]:
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": reason,
        "lastTransitionTime": since.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return {"observedGeneration": 1, "conditions": [condition], **fields}


class Passes:
    """Passes over one ensemble, each with the status that the one before has written."""

    def __init__(self, metrics: Metrics, **changes: Any) -> None:
        self.transitions = Transitions(metrics)
        self.seen = observation(**changes)

    def step(self, seconds: float, reason: str, *, ready: bool = False) -> None:
        self.seen = replace(self.seen, now=self.seen.now + timedelta(seconds=seconds))
        before = self.seen.status.get("conditions", [{}])[0]
        moved = before.get("status") != ("True" if ready else "False")
        since = self.seen.now if moved else datetime.fromisoformat(before["lastTransitionTime"])
        written = status(reason, ready=ready, since=since, rollout="r1")
        self.transitions.reported("key", self.seen, Plan(status=written, labels={"reason": reason}))
        self.seen = replace(self.seen, status=written)

    def restart(self, metrics: Metrics) -> None:
        self.transitions = Transitions(metrics)


def promoted(at: datetime) -> Any:
    """A rollout as the transitions read it."""
    return _Rollout(name="demo-r1", annotations={"ensembles.dev/promotedAt": at.isoformat()})


class _Rollout:
    def __init__(self, *, name: str, annotations: dict[str, str]) -> None:
        self.name, self.annotations = name, annotations


def test_steps_are_measured_from_change_to_change_and_ready_from_the_spec_on() -> None:
    metrics = Metrics()
    story = Passes(metrics)
    story.step(0, "Assembling")
    story.step(5, "Assembling")
    story.step(1, "RollingOut")
    story.seen = replace(story.seen, rollouts=(promoted(START + timedelta(seconds=9)),))
    story.step(4, "Promoting")
    story.step(2, "Ready", ready=True)
    story.step(600, "Ready", ready=True)
    assert value(metrics, "step_seconds_sum", step="Assembling") == 6
    assert value(metrics, "step_seconds_sum", step="RollingOut") == 4
    assert value(metrics, "ready_seconds_sum") == 12
    assert value(metrics, "ready_seconds_count") == 1
    story.step(1, "Unavailable")
    story.step(30, "Ready", ready=True)
    assert value(metrics, "ready_seconds_count") == 1, "servers that came back are no rollout"
    assert value(metrics, "step_seconds_count", step="Ready") == 0


def test_a_failure_is_told_once_whatever_resyncs_and_restarts() -> None:
    metrics = Metrics()
    story = Passes(metrics)
    story.step(0, "Assembling")
    story.step(1, "SourceMissing")
    story.step(600, "SourceMissing")
    assert value(metrics, "failures_total", reason="SourceMissing") == 1
    restarted = Metrics()
    story.restart(restarted)
    story.step(1, "SourceMissing")
    assert value(restarted, "failures_total", reason="SourceMissing") == 0
    story.step(1, "Assembling")
    assert value(restarted, "step_seconds_count", step="SourceMissing") == 0, "nobody knows since when it was"
    story.step(1, "SourceMissing")
    assert value(restarted, "failures_total", reason="SourceMissing") == 1


def test_rollouts_are_counted_when_their_outcome_is_written() -> None:
    metrics = Metrics()
    transitions = Transitions(metrics)
    for outcome in ("Promoted", "Superseded", "Failed", "Pruning"):
        note = {"ensembles.dev/outcome": outcome}
        transitions.acted(Annotate("ControllerRevision", "demo-r1", "u", note))
    transitions.acted(Annotate("ControllerRevision", "demo-r1", "u", {"ensembles.dev/warnings": "[]"}))
    assert value(metrics, "rollouts_total", outcome="Promoted") == 1
    assert value(metrics, "rollouts_total", outcome="Failed") == 1
    text = generate_latest(metrics.registry).decode()
    assert "Superseded" not in text
    assert "Pruning" not in text


def test_what_alerts_look_at_is_there_from_the_start() -> None:
    """increase() sees nothing of a series that is born with its first event."""
    text = generate_latest(Metrics().registry).decode()
    assert 'ensemble_operator_failures_total{reason="VerificationFailed"} 0.0' in text
    assert 'ensemble_operator_rollouts_total{outcome="Failed"} 0.0' in text
    assert 'ensemble_operator_reconcile_outcomes_total{outcome="crashed"} 0.0' in text
    assert 'reason="Building"' not in text, "progress is no failure"
    assert "_created" not in text.replace("jobs_created", "")


def test_ensembles_are_shown_and_forgotten_with_them() -> None:
    metrics, cache = Metrics(), ObjectCache()
    metrics.registry.register(EnsembleCollector(cache))
    manifest = {
        "apiVersion": "ensembles.dev/v1alpha1",
        "kind": "InferenceEnsemble",
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1"},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "SourceMissing"},
                {"type": "Stalled", "status": "True", "reason": "SourceMissing"},
            ]
        },
    }
    cache.store(manifest)
    labels = {"ensemble_namespace": "n", "ensemble": "a"}
    assert value(metrics, "ensembles_condition", condition="Ready", status="False") == 1
    assert value(metrics, "ensemble_condition", condition="Stalled", **labels) == 1
    name = "ensemble_operator_ensemble_condition"
    available = {**labels, "condition": "Available"}
    assert metrics.registry.get_sample_value(name, available) == 0, "absent is not True"
    assert value(metrics, "ensemble_reason", reason="SourceMissing", **labels) == 1
    cache.remove(manifest)
    assert metrics.registry.get_sample_value(name, available) is None
    assert value(metrics, "ensembles") == 0


def test_queue_figures_are_served() -> None:
    metrics = Metrics()
    metrics.registry.register(QueueCollector(lambda: QueueFigures(depth=2, adds=5, retries=1)))
    text = generate_latest(metrics.registry).decode()
    assert "ensemble_operator_queue_depth 2.0" in text
    assert "ensemble_operator_queue_adds_total 5.0" in text
    assert "ensemble_operator_queue_retries_total 1.0" in text


def test_the_documentation_names_every_metric_and_no_other() -> None:
    metrics = Metrics()
    metrics.registry.register(EnsembleCollector(ObjectCache()))
    metrics.registry.register(QueueCollector(lambda: QueueFigures(depth=0, adds=0, retries=0)))
    found = {
        f"{family.name}_total"
        if family.type == "counter"
        else f"{family.name}_info"
        if family.type == "info"
        else family.name
        for family in metrics.registry.collect()
    }
    documented = set(re.findall(r"^\| `(ensemble_operator_\w+)` ", DOCS.read_text(), re.MULTILINE))
    assert documented == found
