"""A control plane for the operator's tests, and a namespace for each test."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from ensemble_operator.apply.executor import Executor, Target
from ensemble_operator.cluster.client import KubernetesApi, connect, find_cluster
from ensemble_operator.cluster.kinds import ENSEMBLE, Kind
from ensemble_operator.observe.cache import ObjectCache
from tests.operator.control_plane import CLUSTER, ROOT, ControlPlane, OperatorProcess, eventually

CONFIG = """
toolsImage: example.com/tools:1
releases: {"1": {serverImage: example.com/server:1, builderImage: example.com/builder:1}}
defaultRelease: "1"
"""


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One of our own: the tests restart it."""
    state = tmp_path_factory.mktemp("operator-control-plane")
    started = subprocess.run(
        [*CLUSTER, "up", "--control-plane-only", "--state", str(state), "--port", "0"],
        check=False,
        capture_output=True,
        text=True,
    )
    if started.returncode:
        pytest.fail(f"no control plane: run `make cluster` first ({started.stderr[-2000:]})", pytrace=False)
    plane = ControlPlane(state)
    try:
        _install_crd(connect(find_cluster(plane.kubeconfig)))
        # The garbage collector looks for kinds when it starts, and every 30 s.
        plane.tool("restart", "controllers")
        yield plane
    finally:
        plane.tool("down")


def _install_crd(api: KubernetesApi) -> None:
    crd = yaml.safe_load((ROOT / "crds/ensembles.dev_inferenceensembles.yaml").read_text())
    kind = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
    api._request("POST", kind.path(None), body=crd)
    name = crd["metadata"]["name"]

    def established() -> bool:
        conditions = api._request("GET", kind.path(None, name)).get("status", {}).get("conditions") or ()
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    eventually(established, what="the CRD is established")


@pytest.fixture
def api(control_plane: ControlPlane) -> KubernetesApi:
    return connect(find_cluster(control_plane.kubeconfig))


@pytest.fixture
def namespace(api: KubernetesApi) -> Iterator[str]:
    """A fresh namespace."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    api._request(
        "POST",
        "/api/v1/namespaces",
        body={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
    )
    yield name
    api._request("DELETE", f"/api/v1/namespaces/{name}")


SPEC: dict[str, Any] = {
    "storage": {"uri": "s3://models/store", "endpoint": "http://s3.invalid:7070", "secretName": "keys"},
    "models": [{"name": "net", "onnxruntime": {"source": {"uri": "s3://models/net.onnx"}}}],
}

CreateEnsemble = Callable[..., Target]


@pytest.fixture
def create_ensemble(api: KubernetesApi, namespace: str) -> CreateEnsemble:
    """Create an InferenceEnsemble; `spec` fields replace those of the default."""

    def create(name: str = "demo", **spec: Any) -> Target:
        manifest = {
            "apiVersion": ENSEMBLE.api_version,
            "kind": ENSEMBLE.name,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {**SPEC, **spec},
        }
        created = api.create(ENSEMBLE, manifest)
        return Target(namespace=namespace, name=name, uid=created["metadata"]["uid"])

    return create


StartOperator = Callable[..., OperatorProcess]


@pytest.fixture
def start_operator(control_plane: ControlPlane, tmp_path: Path) -> Iterator[StartOperator]:
    """Start an operator; all are killed at the end."""
    running: list[OperatorProcess] = []

    def start(*options: str, config: str = CONFIG) -> OperatorProcess:
        process = OperatorProcess(control_plane.kubeconfig, tmp_path, *options, config=config)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()


class FakeTime:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def cache() -> ObjectCache:
    return ObjectCache()


@pytest.fixture
def executor(api: KubernetesApi, cache: ObjectCache) -> Executor:
    return Executor(api, cache)
