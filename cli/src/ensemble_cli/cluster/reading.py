"""An ensemble and its objects, as the cluster has them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ensemble_cli.cluster.connection import Cluster, ForbiddenError, Json, MissingError
from ensemble_cli.cluster.progress import percent_of
from ensemble_cli.exits import CommandError, Exit
from ensembles_api.names import (
    API_VERSION,
    LABEL_ENSEMBLE,
    LABEL_KEY,
    LABEL_MANAGED_BY,
    LABEL_ROLE,
    MANAGED_BY,
    PLURAL,
)

NAME = re.compile(r"[a-z0-9]([a-z0-9.\-]*[a-z0-9])?")
"""Of any object."""
ENGINE = "build-tensorrt-"
"""How the names of Jobs begin that tell how far they are."""


@dataclass(frozen=True)
class Found:
    """A resource, and shorthands for what its status says (absent parts are empty)."""

    document: Json

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.document["metadata"]["namespace"])

    @property
    def generation(self) -> int:
        return int(self.document["metadata"].get("generation", 0))

    @property
    def status(self) -> Json:
        return self.document.get("status") or {}

    @property
    def seen(self) -> bool:
        """The operator has looked at the spec as it is now."""
        return int(self.status.get("observedGeneration", -1)) >= self.generation

    @property
    def ready(self) -> bool:
        return self.seen and self.condition("Ready").get("status") == "True"

    def condition(self, kind: str) -> Mapping[str, str]:
        return next((each for each in self.status.get("conditions", []) if each["type"] == kind), {})


@dataclass(frozen=True)
class Job:
    """A Job that works, or worked, for an ensemble."""

    name: str
    role: str
    state: str
    """Running, Waiting, Succeeded or Failed."""
    since: str
    model: str
    percent: int | None = None
    """Of an engine that is being built, where its log says so."""


def ensemble_path(cluster: Cluster, name: str = "") -> str:
    path = f"/apis/{API_VERSION}/namespaces/{cluster.namespace}/{PLURAL}"
    return f"{path}/{name}" if name else path


def find(cluster: Cluster, name: str) -> Found:
    """The resource.

    Raises:
        CommandError: it is not there (with the names that are), or the operator is not installed.
    """
    found = look(cluster, name)
    if found is not None:
        return found
    try:
        names = ", ".join(names_of(cluster))
    except ForbiddenError:  # to list is another right than to get
        names = ""
    raise CommandError(
        f"no ensemble {name!r} in namespace {cluster.namespace}",
        cure=f"there is: {names}" if names else "look elsewhere: kubectl get inferenceensembles -A",
        status=Exit.ABSENT,
    )


def look(cluster: Cluster, name: str) -> Found | None:
    """The resource; None where it is not there.

    Raises:
        CommandError: the operator is not installed.
    """
    if not NAME.fullmatch(name):
        raise CommandError(
            f"{name!r} is no name of an ensemble",
            cure="kubectl get inferenceensembles lists them",
            status=Exit.USAGE,
        )
    try:
        return Found(cluster.get(ensemble_path(cluster, name)))
    except MissingError as error:
        if not error.named:
            raise _no_operator() from error
        return None


def names_of(cluster: Cluster) -> list[str]:
    """Of the ensembles in the namespace."""
    return [str(item["metadata"]["name"]) for item in cluster.get(ensemble_path(cluster))["items"]]


def _no_operator() -> CommandError:
    return CommandError(
        "this cluster has no InferenceEnsembles: the operator is not installed",
        cure="install it: helm install ensemble-operator charts/ensemble-operator -n ensemble-operator",
        status=Exit.ABSENT,
    )


def pods(cluster: Cluster, **labels: str) -> list[Json]:
    """Pods of ours with these labels, oldest first."""
    wanted = {LABEL_MANAGED_BY: MANAGED_BY, **labels}
    selector = ",".join(f"{name}={value}" for name, value in wanted.items())
    found = cluster.get(f"/api/v1/namespaces/{cluster.namespace}/pods", labelSelector=selector)["items"]
    return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def servers(cluster: Cluster, name: str) -> list[Json]:
    return pods(cluster, **{LABEL_ENSEMBLE: name, LABEL_ROLE: "server"})


def jobs(cluster: Cluster, found: Found) -> list[Job]:
    """Jobs that the ensemble owns, alone or with others, newest first."""
    path = f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs"
    uid = found.document["metadata"]["uid"]
    ours = [
        job
        for job in cluster.get(path, labelSelector=f"{LABEL_MANAGED_BY}={MANAGED_BY}")["items"]
        if any(owner["uid"] == uid for owner in job["metadata"].get("ownerReferences", []))
    ]
    models = _models_by_key(cluster, found.name)
    working = _working(cluster)
    shown = [_with_progress(cluster, _job(job, models, working)) for job in ours]
    return sorted(shown, key=lambda job: job.since, reverse=True)


def _with_progress(cluster: Cluster, job: Job) -> Job:
    if job.state != "Running" or not job.name.startswith(ENGINE):
        return job
    return replace(job, percent=percent_of(cluster, job.name))


def _working(cluster: Cluster) -> set[str]:
    """Names of Jobs with a container that runs.

    A Job itself calls a pod active that waits for a node, and not ready one at its init containers, where
    builds compile.
    """
    return {
        pod["metadata"]["labels"].get("batch.kubernetes.io/job-name", "")
        for pod in pods(cluster)
        if any("running" in each.get("state", {}) for each in _container_statuses(pod))
    }


def _container_statuses(pod: Json) -> list[Json]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _job(job: Json, models: Mapping[str, str], working: set[str]) -> Job:
    metadata, status = job["metadata"], job.get("status", {})
    ended = {each["type"] for each in status.get("conditions", []) if each["status"] == "True"}
    if "Complete" in ended:
        state = "Succeeded"
    elif "Failed" in ended:
        state = "Failed"
    else:
        state = "Running" if metadata["name"] in working else "Waiting"
    labels = metadata.get("labels", {})
    return Job(
        name=metadata["name"],
        role=labels.get(LABEL_ROLE, ""),
        state=state,
        since=metadata["creationTimestamp"],
        model=models.get(labels.get(LABEL_KEY, ""), ""),
    )


def _models_by_key(cluster: Cluster, name: str) -> dict[str, str]:
    """Key label of a build -> model: the assemble Jobs' results say which model a build is for."""
    models: dict[str, str] = {}
    for pod in pods(cluster, **{LABEL_ENSEMBLE: name, LABEL_ROLE: "assemble"}):
        for order in _result(pod).get("next", []):
            models[str(order.get("key", ""))[:20]] = str(order.get("model", ""))
    return models


def _result(pod: Json) -> Mapping[str, Any]:
    """The Result that a finished Job left as its termination message; empty where it is none."""
    statuses: Sequence[Json] = pod.get("status", {}).get("containerStatuses", [])
    for status in statuses:
        message = status.get("state", {}).get("terminated", {}).get("message", "")
        try:
            result = json.loads(message)
        except ValueError:
            continue
        if isinstance(result, dict):
            return result
    return {}
