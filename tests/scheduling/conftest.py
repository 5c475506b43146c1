"""A control plane with the real Kueue beside it. Compiles Kueue the first time: `make test-scheduling`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from localcluster import build

from ensemble_operator.apply.executor import Target
from ensemble_operator.cluster.client import KubernetesApi, connect, find_cluster
from ensemble_operator.cluster.errors import NotFoundError
from ensemble_operator.cluster.kinds import ENSEMBLE, JOB, Kind
from tests.conftest import CACHE
from tests.operator.conftest import (
    CreateEnsemble,
    StartOperator,
    api,
    control_plane,
    create_ensemble,
    namespace,
    start_operator,
)
from tests.operator.control_plane import ControlPlane, eventually
from tests.operator.test_lifecycle import condition, status
from tests.scheduling import kueue
from tests.scheduling.kueue import KueueProcess

__all__ = ["api", "control_plane", "create_ensemble", "namespace", "start_operator"]


@pytest.fixture(scope="session")
def kueue_ports(control_plane: ControlPlane, helm: str) -> kueue.Ports:
    """Kueue's CRDs and webhooks are installed; its manager answers these ports once it is started."""
    build.build(CACHE, only=["kueue"])
    ports = kueue.Ports.free()
    kueue.install(connect(find_cluster(control_plane.kubeconfig)), kueue.manifests(CACHE, helm, ports))
    return ports


StartKueue = Callable[..., KueueProcess]


@pytest.fixture
def start_kueue(
    control_plane: ControlPlane, api: KubernetesApi, kueue_ports: kueue.Ports, tmp_path: Path
) -> Iterator[StartKueue]:
    """Start Kueue's manager, one at a time; keywords are settings of its configuration."""
    running: list[KueueProcess] = []

    def start(**settings: Any) -> KueueProcess:
        folder = tmp_path / f"kueue-{len(running)}"
        program = CACHE / "bin/kueue"
        started = KueueProcess(program, api, control_plane.kubeconfig, folder, kueue_ports, **settings)
        running.append(started)
        return started

    yield start
    for process in running:
        process.stop()


class Queues:
    """The queues of one test; names that are the cluster's bear the namespace's."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api = api
        self.namespace = namespace
        self._made: list[tuple[Kind, str]] = []

    def make(self, name: str, *, gpus: int) -> None:
        """A LocalQueue of the test's namespace and its ClusterQueue."""
        flavor = f"l4-{self.namespace}"
        if not self._made:
            self._create(kueue.FLAVOR, kueue.flavor(flavor, cabinet="seven"))
        whole = f"{name}-{self.namespace}"
        self._create(kueue.CLUSTER_QUEUE, kueue.cluster_queue(whole, flavor, gpus=gpus))
        self._api.create(kueue.LOCAL_QUEUE, kueue.local_queue(name, self.namespace, of=whole))

    def resize(self, name: str, *, gpus: int) -> None:
        whole = f"{name}-{self.namespace}"
        wanted = kueue.cluster_queue(whole, f"l4-{self.namespace}", gpus=gpus)
        path = kueue.CLUSTER_QUEUE.path(None, whole)
        self._api._request("PATCH", path, body=wanted, content_type="application/merge-patch+json")

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
        eventually(
            lambda: not self._api.list(kueue.WORKLOAD, self.namespace).items, what="no Workload is left"
        )


@pytest.fixture
def queues(start_kueue: StartKueue, api: KubernetesApi, namespace: str) -> Iterator[Queues]:
    """Removed before Kueue is stopped."""
    found = Queues(api, namespace)
    yield found
    found.remove()


@dataclass(frozen=True)
class Scene:
    """All that a test plays with."""

    api: KubernetesApi
    namespace: str
    start_kueue: StartKueue
    queues: Queues
    start_operator: StartOperator
    create_ensemble: CreateEnsemble

    def of_builds(self, kind: Kind) -> list[Mapping[str, Any]]:
        """Jobs or pods."""
        found = self.api.list(kind, self.namespace, label_selector="ensembles.dev/role=build")
        return list(found.items)

    def build_uids(self) -> list[str]:
        return [job["metadata"]["uid"] for job in self.of_builds(JOB)]

    def says(self, target: Target, *words: str) -> str:
        """Until the condition that tells of work names all this."""

        def found() -> str | None:
            message = str(condition(self.api, target, "Reconciling").get("message", ""))
            return message if all(word in message for word in words) else None

        return eventually(found, seconds=40, what=f"{words}: {status(self.api, target)}")


@pytest.fixture
def scene(
    api: KubernetesApi,
    queues: Queues,
    start_kueue: StartKueue,
    start_operator: StartOperator,
    create_ensemble: CreateEnsemble,
) -> Scene:
    return Scene(api, queues.namespace, start_kueue, queues, start_operator, create_ensemble)
