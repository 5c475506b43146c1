"""Queues of one test, and what competes in them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import NotFoundError
from ensemble_operator.cluster.kinds import ENSEMBLE, JOB, Kind
from tests.operator.control_plane import eventually
from tests.scheduling import kueue

PRIORITY = Kind("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses")


class Queues:
    """Names that are the cluster's bear the namespace's.

    Args:
        api: the cluster.
        namespace: the test's.
        node_labels: of the nodes that its flavor stands for.
    """

    def __init__(self, api: KubernetesApi, namespace: str, **node_labels: str) -> None:
        self._api = api
        self.namespace = namespace
        self._flavor = kueue.flavor(f"l4-{namespace}", **node_labels)
        self._made: list[tuple[Kind, str]] = []

    def make(self, name: str, *, gpus: int, cpus: str = "100") -> None:
        """A LocalQueue of the test's namespace and its ClusterQueue."""
        if not self._made:
            self._create(kueue.FLAVOR, self._flavor)
        self._create(kueue.CLUSTER_QUEUE, self._cluster_queue(name, gpus, cpus))
        of = f"{name}-{self.namespace}"
        self._api.create(kueue.LOCAL_QUEUE, kueue.local_queue(name, self.namespace, of=of))

    def resize(self, name: str, *, gpus: int, cpus: str = "100") -> None:
        wanted = self._cluster_queue(name, gpus, cpus)
        self._patch(kueue.CLUSTER_QUEUE.path(None, wanted["metadata"]["name"]), wanted)

    def check(self, name: str, *, queue: str) -> str:
        """An admission check of a queue, by a controller that does not exist; its name."""
        whole = f"{name}-{self.namespace}"
        kind = kueue.ADMISSION_CHECK
        body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": whole}}
        self._create(kind, {**body, "spec": {"controllerName": "example.com/nobody"}})
        active = {"type": "Active", "status": "True", "reason": "Fake", "message": ""}
        active["lastTransitionTime"] = "2026-01-01T00:00:00Z"
        path = f"{kind.path(None, whole)}/status"
        self._patch(path, {"status": {"conditions": [active]}})
        strategy = {"admissionChecksStrategy": {"admissionChecks": [{"name": whole}]}}
        self._patch(kueue.CLUSTER_QUEUE.path(None, f"{queue}-{self.namespace}"), {"spec": strategy})
        return whole

    def priority(self, name: str, value: int, *, kind: Kind = PRIORITY) -> str:
        """A PriorityClass, or one of Kueue's; its name."""
        metadata = {"name": f"{name}-{self.namespace}"}
        body = {"apiVersion": kind.api_version, "kind": kind.name, "value": value, "metadata": metadata}
        self._create(kind, body)
        return metadata["name"]

    def _cluster_queue(self, name: str, gpus: int, cpus: str) -> dict[str, Any]:
        flavor = self._flavor["metadata"]["name"]
        return kueue.cluster_queue(f"{name}-{self.namespace}", flavor, gpus=gpus, cpus=cpus)

    def _patch(self, path: str, body: dict[str, Any]) -> None:
        self._api._request("PATCH", path, body=body, content_type="application/merge-patch+json")

    def _create(self, kind: Kind, manifest: dict[str, Any]) -> None:
        """An object of the whole cluster."""
        self._api._request("POST", kind.path(None), body=manifest)
        self._made.append((kind, manifest["metadata"]["name"]))

    def remove(self) -> None:
        """While Kueue runs: it holds its objects by finalizers."""
        for kind in (ENSEMBLE, JOB, kueue.LOCAL_QUEUE):
            for item in self._api.list(kind, self.namespace).items:
                metadata = item["metadata"]
                with suppress(NotFoundError):  # an ensemble takes its Jobs along
                    self._api.delete(kind, self.namespace, metadata["name"], uid=metadata["uid"])
        for kind, name in reversed(self._made):
            self._api._request("DELETE", kind.path(None, name))
        eventually(self._is_gone, what="Workloads and queues go")

    def _is_gone(self) -> bool:
        for kind, name in self._made:
            with suppress(NotFoundError):
                self._api._request("GET", kind.path(None, name))
                return False
        return not self._api.list(kueue.WORKLOAD, self.namespace).items


def rival(
    namespace: str, *, priority: str, limits: dict[str, str], image: str, command: list[str]
) -> dict[str, Any]:
    """Somebody else's Job in the same queue."""
    main = {
        "name": "main",
        "image": image,
        "command": command,
        "resources": {"limits": limits},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "restartPolicy": "Never",
        "priorityClassName": priority,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [main],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "training",
            "namespace": namespace,
            "labels": {"kueue.x-k8s.io/queue-name": "gpus"},
        },
        "spec": {"template": {"metadata": {"labels": {"app": "training"}}, "spec": pod}},
    }
