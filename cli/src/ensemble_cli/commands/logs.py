"""`logs`: of the servers, or of a model's build."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from ensemble_cli.cluster.candidates import complete_ensembles
from ensemble_cli.cluster.connection import Cluster, Json
from ensemble_cli.cluster.options import cluster_options
from ensemble_cli.cluster.reading import find, jobs, servers
from ensemble_cli.exits import CommandError, Exit

SERVER = ("tritonserver", "http")
"""The server, and the proxy before its HTTP port."""


@dataclass(frozen=True)
class Container:
    pod: str
    name: str


@click.command("logs")
@click.argument("name", shell_complete=complete_ensembles)
@click.option("--model", default="", help="The log of the model's latest build instead of the servers'.")
@click.option("-f", "--follow", is_flag=True, help="Go on until ctrl-C.")
@click.option("--tail", default=-1, help="Lines of each container to begin with; default all.")
@cluster_options
def command(*, name: str, model: str, follow: bool, tail: int, cluster: Cluster) -> None:
    """Print the servers' logs, or those of a model's build: each line with its pod's end and container."""
    containers = _of_build(cluster, name, model) if model else _of_servers(cluster, name)
    query = {"follow": "true"} if follow else {}
    query |= {"tailLines": str(tail)} if tail >= 0 else {}
    for line in _merged(cluster, containers, query) if follow else _one_by_one(cluster, containers, query):
        click.echo(line)


def _of_servers(cluster: Cluster, name: str) -> list[Container]:
    found = servers(cluster, find(cluster, name).name)
    if not found:
        raise CommandError(
            f"{name} has no servers", cure=f"kubectl ensemble why {name} says why", status=Exit.ABSENT
        )
    return [
        Container(pod["metadata"]["name"], container["name"])
        for pod in found
        for container in pod["spec"]["containers"]
        if container["name"] in SERVER
    ]


def _of_build(cluster: Cluster, name: str, model: str) -> list[Container]:
    all_jobs = jobs(cluster, find(cluster, name))
    ours = [job for job in all_jobs if job.role == "build" and job.model == model]
    if not ours:
        built = ", ".join(sorted({job.model for job in all_jobs if job.model})) or "none"
        raise CommandError(
            f"no build of model {model!r} is kept",
            cure=f"builds there are: {built}; what was built before, or needs no build, has no Job",
            status=Exit.ABSENT,
        )
    path = f"/api/v1/namespaces/{cluster.namespace}/pods"
    found = cluster.get(path, labelSelector=f"batch.kubernetes.io/job-name={ours[0].name}")["items"]
    return [Container(pod["metadata"]["name"], name) for pod in found for name in _started(pod)]


def _started(pod: Json) -> Iterator[str]:
    status = pod.get("status", {})
    for each in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        if "waiting" not in each.get("state", {}):
            yield each["name"]


def _lines(cluster: Cluster, container: Container, query: dict[str, str]) -> Iterator[str]:
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{container.pod}/log"
    prefix = f"{container.pod.rpartition('-')[2]} {container.name}"
    with cluster.lines(path, container=container.name, **query) as lines:
        for line in lines:
            yield f"{prefix} | {line}"


def _one_by_one(cluster: Cluster, containers: Sequence[Container], query: dict[str, str]) -> Iterator[str]:
    for container in containers:
        yield from _lines(cluster, container, query)


def _merged(cluster: Cluster, containers: Sequence[Container], query: dict[str, str]) -> Iterator[str]:
    """Lines of all containers as they come; threads end with the process."""
    arrived: queue.Queue[str | None] = queue.Queue(maxsize=1000)

    def read(container: Container) -> None:
        try:
            for line in _lines(cluster, container, query):
                arrived.put(line)
        except CommandError as error:
            arrived.put(f"{container.pod} {container.name} | {error}")
        finally:
            arrived.put(None)

    for container in containers:
        threading.Thread(target=read, args=(container,), daemon=True).start()
    left = len(containers)
    while left:
        line = arrived.get()
        if line is None:
            left -= 1
        else:
            yield line
