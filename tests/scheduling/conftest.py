"""A control plane with the real Kueue beside it. Compiles Kueue the first time: `make test-scheduling`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from localcluster import build

from ensemble_operator.apply.executor import Target
from ensemble_operator.cluster.client import KubernetesApi, connect, find_cluster
from ensemble_operator.cluster.kinds import JOB, Kind
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
from tests.scheduling.queues import Queues

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


@pytest.fixture
def queues(start_kueue: StartKueue, api: KubernetesApi, namespace: str) -> Iterator[Queues]:
    """Removed before Kueue is stopped."""
    found = Queues(api, namespace, cabinet="seven")
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
