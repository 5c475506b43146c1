"""GPUs by dynamic resource allocation: the real scheduler and the real controller of claims. The devices are
fakes where a driver would publish its own, and so is the kubelet.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.kinds import ENSEMBLE, POD, Kind
from ensembles_api.contract import NextBuild, Result
from tests.conftest import CACHE
from tests.operator.conftest import CreateEnsemble, StartOperator
from tests.operator.control_plane import ControlPlane, eventually
from tests.operator.fake_kubelet import FakeKubelet, Pod
from tests.operator.test_lifecycle import ALONE, KEY, World, condition, wait_for
from tests.ports import free_port

pytestmark = pytest.mark.apiserver

_V1 = "resource.k8s.io/v1"
DEVICE_CLASS = Kind(_V1, "DeviceClass", "deviceclasses")
SLICE = Kind(_V1, "ResourceSlice", "resourceslices")
TEMPLATE = Kind(_V1, "ResourceClaimTemplate", "resourceclaimtemplates")
CLAIM = Kind(_V1, "ResourceClaim", "resourceclaims")
DRIVER = "fake-gpu.example.com"
TARGETS = [{"name": "l4", "gpu": {"product": "NVIDIA-L4", "resourceClaimTemplateName": "one-gpu"}}]


class Factory(World):
    """The first assemble Job asks for an engine."""

    def __init__(self) -> None:
        super().__init__()
        self.missing_build = True

    def _assembled(self, pod: Pod) -> Result:
        found = super()._assembled(pod)
        engine = NextBuild(kind="tensorrt", key=KEY, model="net", gpu=True, target="l4")
        return found.model_copy(update={"next": (engine,)}) if found.next else found


@pytest.fixture
def scheduler(control_plane: ControlPlane, tmp_path: Path) -> Iterator[None]:
    kubeconfig = control_plane.state / "config/scheduler.kubeconfig"
    options = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    command = [str(CACHE / "bin/kube-scheduler"), *(f"--{option}={kubeconfig}" for option in options)]
    command += ["--bind-address=127.0.0.1", f"--secure-port={free_port()}", "--leader-elect=false"]
    with (tmp_path / "scheduler.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    yield
    process.terminate()
    process.wait(30)


@pytest.fixture
def node(api: KubernetesApi, namespace: str, scheduler: None) -> Iterator[tuple[FakeKubelet, Factory]]:
    world = Factory()
    with FakeKubelet(api, namespace, world.decide, scheduled=True) as kubelet:
        yield kubelet, world


@pytest.fixture
def device_class(api: KubernetesApi) -> Iterator[str]:
    name = "fake-gpu"
    selector = {"cel": {"expression": f"device.driver == '{DRIVER}'"}}
    post(api, DEVICE_CLASS, name, {"selectors": [selector]})
    yield name
    api._request("DELETE", DEVICE_CLASS.path(None, name))


def post(
    api: KubernetesApi, kind: Kind, name: str, spec: Mapping[str, Any], namespace: str | None = None
) -> None:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": spec}
    api._request("POST", kind.path(namespace), body=body)


def make_template(api: KubernetesApi, namespace: str, device_class: str) -> None:
    request = {"name": "gpu", "exactly": {"deviceClassName": device_class}}
    post(api, TEMPLATE, "one-gpu", {"spec": {"devices": {"requests": [request]}}}, namespace)


def publish(api: KubernetesApi, node: str, *, devices: int) -> None:
    """As the driver on the node would."""
    spec = {
        "driver": DRIVER,
        "nodeName": node,
        "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": f"gpu-{number}"} for number in range(devices)],
    }
    post(api, SLICE, node, spec)


def pods(api: KubernetesApi, namespace: str, role: str) -> list[Mapping[str, Any]]:
    return list(api.list(POD, namespace, label_selector=f"ensembles.dev/role={role}").items)


def test_build_and_server_get_their_gpu_by_claim(
    api: KubernetesApi,
    start_operator: StartOperator,
    create_ensemble: CreateEnsemble,
    node: tuple[FakeKubelet, Factory],
    device_class: str,
) -> None:
    kubelet, world = node
    start_operator(ALONE).wait_for('"working"')
    target = create_ensemble(serving={"targets": TARGETS})
    # Nobody but an Event tells of a template that is missing.
    wait_for(api, target, "Reconciling", "ClaimTemplateMissing", seconds=90)
    message = condition(api, target, "Reconciling")["message"]
    assert message.startswith("spec.serving.targets[0].gpu.resourceClaimTemplateName: pod build-tensorrt-")
    assert '"one-gpu" not found; create it in this namespace, or name another' in message

    make_template(api, target.namespace, device_class)
    wait_for(api, target, "Reconciling", "WaitingForGPU")
    message = condition(api, target, "Reconciling")["message"]
    assert "cannot allocate all claims" in message
    assert "(since 20" in message
    assert condition(api, target, "Stalled") == {}
    assert world.builds == 0

    publish(api, kubelet.node, devices=1)
    try:
        wait_for(api, target, "Ready", seconds=90)
        assert world.builds == 1
        (server,) = pods(api, target.namespace, "server")
        (used,) = [
            claim for claim in api.list(CLAIM, target.namespace).items if "allocation" in claim["status"]
        ]
        assert [user["uid"] for user in used["status"]["reservedFor"]] == [server["metadata"]["uid"]]
        (device,) = used["status"]["allocation"]["devices"]["results"]
        assert (device["driver"], device["device"]) == (DRIVER, "gpu-0"), "the build has given it back"

        api.patch(ENSEMBLE, target.namespace, target.name, {"spec": {"serving": {"replicas": 2}}})
        wait_for(api, target, "Reconciling", "WaitingForGPU")
        assert condition(api, target, "Available")["status"] == "True"
    finally:
        api._request("DELETE", SLICE.path(None, kubelet.node))
    eventually(lambda: not api.list(SLICE, None).items, what="the devices are gone")
