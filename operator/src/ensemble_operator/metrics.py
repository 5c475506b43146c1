"""Prometheus metrics of the operator."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import ValidationError

from ensemble_operator.cluster.kinds import ENSEMBLE
from ensemble_operator.names import ANNOTATION_ROUND, COUNTING_CONTAINER
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.plan.observation import JobSeen, Observation
from ensembles_api.contract import Result
from ensembles_api.names import LABEL_ROLE

_PASS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STAGE_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_PREFIX = "ensemble_operator"


class Metrics:
    """All metrics; `registry` is what is served.

    Args:
        since: Jobs that ended before were counted by an earlier process.
    """

    def __init__(self, *, since: datetime) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that nobody reads
        self.registry = CollectorRegistry()
        self.passes = Histogram(
            f"{_PREFIX}_reconcile_seconds",
            "Duration of a pass over one ensemble.",
            buckets=_PASS_BUCKETS,
            registry=self.registry,
        )
        self.outcomes = Counter(
            f"{_PREFIX}_reconcile_outcomes", "Passes by outcome.", ["outcome"], registry=self.registry
        )
        self.failures = Counter(
            f"{_PREFIX}_failures",
            "Ensembles that came to fail or wait, by reason (see docs/reasons.md).",
            ["reason"],
            registry=self.registry,
        )
        self.jobs_created = Counter(
            f"{_PREFIX}_jobs_created",
            "Jobs created, by role: assemble, build, verify, prune.",
            ["role"],
            registry=self.registry,
        )
        self.builds_avoided = Counter(
            f"{_PREFIX}_builds_avoided",
            "Artifacts that were found in storage instead of being built.",
            registry=self.registry,
        )
        self.stages = Histogram(
            f"{_PREFIX}_stage_seconds",
            "Time from a Job's creation to its end, by role and result.",
            ["role", "result"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.watch_behind = Gauge(
            f"{_PREFIX}_watch_behind",
            "1 where the watch of a kind did not bring what a list shows.",
            ["kind"],
            registry=self.registry,
        )
        self.leader = Gauge(
            f"{_PREFIX}_leader", "1 where this replica is the one that works.", registry=self.registry
        )
        Info(f"{_PREFIX}_build", "Version of the operator.", registry=self.registry).info(
            {"version": version("ensemble-operator")}
        )
        self._since = since
        self._counted: dict[str, None] = {}

    def count_jobs(self, observation: Observation) -> None:
        """Count Jobs that have ended, each once."""
        for job in observation.jobs:
            ended = job.finished_at
            if ended is None or ended < self._since or job.uid in self._counted:
                continue
            self._counted[job.uid] = None
            while len(self._counted) > 10_000:  # noqa: PLR2004 - far more than are kept in a cluster
                del self._counted[next(iter(self._counted))]
            self._count(job, ended)

    def _count(self, job: JobSeen, ended: datetime) -> None:
        role = job.labels.get(LABEL_ROLE, "")
        self.stages.labels(role=role, result=job.state).observe((ended - job.created).total_seconds())
        if role == "assemble" and job.annotations.get(ANNOTATION_ROUND) == "1":
            self.builds_avoided.inc(_cached(job))


def _cached(job: JobSeen) -> int:
    """How many artifacts an assemble Job found built."""
    name = COUNTING_CONTAINER["assemble"]
    for pod in reversed(job.pods):
        container = pod.container(name)
        if container is not None and container.exit_code == 0:
            try:
                return Result.model_validate_json(container.termination_message).cached
            except ValidationError:
                return 0
    return 0


@dataclass(frozen=True)
class QueueFigures:
    """Of the work queue: keys that wait for a worker, totals of keys put in, and put off after a failure."""

    depth: int
    adds: int
    retries: int


class QueueCollector(Collector):
    """Depth and totals of the work queue."""

    def __init__(self, figures: Callable[[], QueueFigures]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        now = self._figures()
        yield GaugeMetricFamily(f"{_PREFIX}_queue_depth", "Keys that wait for a worker.", now.depth)
        yield CounterMetricFamily(f"{_PREFIX}_queue_adds", "Keys put into the queue.", now.adds)
        yield CounterMetricFamily(f"{_PREFIX}_queue_retries", "Keys put off after a failure.", now.retries)


class EnsembleCollector(Collector):
    """How many ensembles there are, by condition; made at the scrape, so no series outlives its cause."""

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        tally: Tally[tuple[str, str]] = Tally()
        resources = self._cache.all(ENSEMBLE)
        for resource in resources:
            for condition in (resource.get("status") or {}).get("conditions") or ():
                tally[(condition["type"], condition["status"])] += 1
        yield GaugeMetricFamily(f"{_PREFIX}_ensembles", "InferenceEnsembles.", len(resources))
        family = GaugeMetricFamily(
            f"{_PREFIX}_ensembles_condition",
            "InferenceEnsembles by condition and its status.",
            labels=["condition", "status"],
        )
        for (condition, status), count in sorted(tally.items()):
            family.add_metric([condition, status], count)
        yield family
