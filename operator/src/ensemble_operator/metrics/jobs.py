"""Jobs that ended: how long they took, what they cost, and what the cache saved."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime

from ensemble_operator.metrics.families import Metrics
from ensemble_operator.names import ANNOTATION_ROUND, COUNTING_CONTAINER
from ensemble_operator.plan.jobs import parse_result
from ensemble_operator.plan.observation import ContainerSeen, JobSeen, Observation, PodSeen
from ensembles_api.contract import Result
from ensembles_api.names import LABEL_ROLE

_REMEMBERED = 10_000
"""Far more Jobs than are kept in a cluster."""


class JobCounts:
    """Counts each Job once, when it is first seen to have ended.

    Args:
        metrics: where to.
        since: Jobs that ended before were counted by the leader before, or by nobody.
    """

    def __init__(self, metrics: Metrics, *, since: datetime) -> None:
        self._metrics = metrics
        self._since = since
        self._lock = threading.Lock()
        self._counted: dict[str, None] = {}

    def lead(self, since: datetime) -> None:
        """From now on this process works; another one may have until now."""
        self._since = since

    def seen(self, observation: Observation) -> None:
        """Count what has ended."""
        for job in observation.jobs:
            end = ended(job)
            if end is not None and end >= self._since and self._is_new(job):
                self._count(job, end, job.state if job.state != "active" else "succeeded")

    def cancelled(self, job: JobSeen, now: datetime) -> None:
        """Count a Job that is deleted while it runs."""
        if ended(job) is None and self._is_new(job):
            self._count(job, now, "cancelled")

    def _is_new(self, job: JobSeen) -> bool:
        with self._lock:
            if job.uid in self._counted:
                return False
            self._counted[job.uid] = None
            while len(self._counted) > _REMEMBERED:
                del self._counted[next(iter(self._counted))]
            return True

    def _count(self, job: JobSeen, end: datetime, result: str) -> None:
        said = _result(job)
        role = job.labels.get(LABEL_ROLE, "")
        shown = "publish" if role == "assemble" and said.revision else role
        labels = {"role": shown, "kind": kind_of(job), "result": result}
        self._metrics.jobs.labels(**labels).observe((end - job.created).total_seconds())
        for cost in (gpu_cost(pod, end) for pod in job.pods if role == "build"):
            if cost.devices:
                self._metrics.gpu_seconds.labels(kind=kind_of(job)).inc(cost.seconds * cost.devices)
        if role == "assemble" and job.annotations.get(ANNOTATION_ROUND) == "1":
            # Later rounds find what this chain has built.
            self._metrics.builds_avoided.inc(said.cached)
            self._metrics.gpu_seconds_saved.inc(said.saved_gpu_seconds)


def ended(job: JobSeen) -> datetime | None:
    """When a Job ended. One whose counting container ended well is done: it may be gone before its condition
    says so.
    """
    if job.finished_at is not None:
        return job.finished_at
    container = _counting(job)
    return container.finished_at if container is not None and container.exit_code == 0 else None


def kind_of(job: JobSeen) -> str:
    """dali, tensorrt, …: a build's name begins with it; empty for other roles."""
    return job.name.split("-", 2)[1] if job.labels.get(LABEL_ROLE) == "build" else ""


@dataclass(frozen=True)
class GpuCost:
    """seconds: from its start on a node to its end; devices: how many GPUs, one of each resource it names."""

    seconds: float
    devices: int


def gpu_cost(pod: PodSeen, end: datetime) -> GpuCost:
    """What a build's pod held. The scheduler gives the GPU away before any container runs, so pulling images
    counts.
    """
    stopped = max((c.finished_at for c in pod.containers if c.finished_at), default=end)
    last = end if any(c.running for c in pod.containers) else min(stopped, end)
    seconds = (last - pod.started_at).total_seconds() if pod.started_at else 0.0
    return GpuCost(seconds=max(0.0, seconds), devices=len(pod.devices))


def _counting(job: JobSeen) -> ContainerSeen | None:
    name = COUNTING_CONTAINER.get(job.labels.get(LABEL_ROLE, ""), "")
    found = (pod.container(name) for pod in reversed(job.pods))
    return next((container for container in found if container is not None), None)


def _result(job: JobSeen) -> Result:
    container = _counting(job)
    if container is None or container.exit_code != 0:
        return Result()
    return parse_result(container.termination_message) or Result()
