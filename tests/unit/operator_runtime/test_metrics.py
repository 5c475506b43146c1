from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client import generate_latest

from ensemble_operator.metrics import EnsembleCollector, Metrics, QueueCollector, QueueFigures
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.plan.observation import ContainerSeen, JobSeen, Observation, PodSeen

START = datetime(2026, 11, 21, tzinfo=UTC)


def observation(*jobs: JobSeen) -> Observation:
    return Observation(
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


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def test_each_job_is_counted_once() -> None:
    metrics = Metrics(since=START)
    ended = START + timedelta(seconds=7)
    seen = observation(
        assemble("first", ended=ended, message='{"contract":1,"cached":3}'),
        assemble("second-round", ended=ended, message='{"contract":1,"cached":5}', number="2"),
        assemble("running", ended=None, message=""),
        assemble("garbled", ended=ended, message="not JSON"),
    )
    metrics.count_jobs(seen)
    metrics.count_jobs(seen)
    assert value(metrics, "ensemble_operator_builds_avoided_total") == 3, (
        "later rounds find what was just built"
    )
    labels = {"role": "assemble", "result": "succeeded"}
    assert value(metrics, "ensemble_operator_stage_seconds_count", **labels) == 3
    assert value(metrics, "ensemble_operator_stage_seconds_sum", **labels) == 21


def test_jobs_of_an_earlier_process_are_not_counted_again() -> None:
    metrics = Metrics(since=START + timedelta(hours=1))
    ended = START + timedelta(seconds=7)
    metrics.count_jobs(observation(assemble("old", ended=ended, message='{"contract":1,"cached":3}')))
    assert value(metrics, "ensemble_operator_builds_avoided_total") == 0


def test_ensembles_are_counted_by_condition_and_forgotten_with_them() -> None:
    metrics, cache = Metrics(since=START), ObjectCache()
    metrics.registry.register(EnsembleCollector(cache))
    manifest = {
        "apiVersion": "ensembles.dev/v1alpha1",
        "kind": "InferenceEnsemble",
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1"},
        "status": {"conditions": [{"type": "Ready", "status": "False"}]},
    }
    cache.store(manifest)
    name = "ensemble_operator_ensembles_condition"
    assert value(metrics, name, condition="Ready", status="False") == 1
    cache.remove(manifest)
    assert metrics.registry.get_sample_value(name, {"condition": "Ready", "status": "False"}) is None
    assert value(metrics, "ensemble_operator_ensembles") == 0


def test_queue_figures_are_served() -> None:
    metrics = Metrics(since=START)
    metrics.registry.register(QueueCollector(lambda: QueueFigures(depth=2, adds=5, retries=1)))
    text = generate_latest(metrics.registry).decode()
    assert "ensemble_operator_queue_depth 2.0" in text
    assert "ensemble_operator_queue_adds_total 5.0" in text
    assert "ensemble_operator_queue_retries_total 1.0" in text
    assert "_seconds_created" not in text
