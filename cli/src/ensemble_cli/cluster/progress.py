"""How far the build of an engine is: the compiler writes it into its log, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ensemble_cli.cluster.connection import Cluster, Json
from ensemble_cli.exits import CommandError

TAIL_LINES = "100"
TAIL_BYTES = "65536"
COMPILER = "compile"


def percent_of(cluster: Cluster, job: str) -> int | None:
    """Percent of the engine that a Job builds; None where nothing is said of it, or logs may not be read."""
    try:
        return _percent_of(cluster, job)
    except CommandError:
        return None


def _percent_of(cluster: Cluster, job: str) -> int | None:
    path = f"/api/v1/namespaces/{cluster.namespace}/pods"
    pods = cluster.get(path, labelSelector=f"batch.kubernetes.io/job-name={job}")["items"]
    for pod in pods:
        if _compiles(pod):
            log = f"{path}/{pod['metadata']['name']}/log"
            query = {"container": COMPILER, "tailLines": TAIL_LINES, "limitBytes": TAIL_BYTES}
            with cluster.lines(log, **query) as lines:
                return last_percent(lines)
    return None


def _compiles(pod: Json) -> bool:
    statuses = pod.get("status", {}).get("initContainerStatuses", [])
    return any(each["name"] == COMPILER and "running" in each.get("state", {}) for each in statuses)


def last_percent(lines: Iterable[str]) -> int | None:
    """Of the newest line {"progress": 40, "seconds": 12.5}; other lines are the compiler's own."""
    found = None
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        percent = said.get("progress") if isinstance(said, dict) else None
        if isinstance(percent, int) and 0 <= percent <= 100:  # noqa: PLR2004 - percent
            found = percent
    return found
