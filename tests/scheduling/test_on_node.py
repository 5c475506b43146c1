"""With a kubelet that runs what is admitted: devices by claim, and a build that Kueue takes off its node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from localcluster import build

from ensemble_operator.cluster.client import connect, find_cluster
from tests.conftest import CACHE
from tests.e2e import live, localnode
from tests.e2e.conftest import cluster, make_namespace, namespace, operator, s3
from tests.e2e.test_exports import IMAGE, SCRIPT
from tests.e2e.test_gpu_waiting import waits_for_gpu
from tests.scheduling import driver, kueue
from tests.scheduling.queues import Queues, rival

__all__ = ["cluster", "make_namespace", "namespace", "operator", "s3"]

pytestmark = [pytest.mark.cluster, pytest.mark.go, pytest.mark.scheduling, pytest.mark.timeout(1800)]

TARGETS = [{"name": "gpu", "gpu": {"resourceClaimTemplateName": "one-gpu"}}]
HAS_DEVICE = f"""
import os

assert os.environ["{driver.FAKE_GPU}"] == "seven", "the device is not in the container"
"""


@pytest.fixture
def one_device(operator: None, tmp_path: Path) -> Iterator[None]:
    localnode.require()
    with driver.running(tmp_path / "driver.log", devices=1):
        yield


@pytest.fixture
def queues(namespace: live.Namespace, helm: str, tmp_path: Path) -> Iterator[Queues]:
    """Of a Kueue that the cluster has for as long as the test needs it."""
    localnode.require()
    build.build(CACHE, only=["kueue"])
    kubeconfig = live.STATE / "kubeconfig"
    api = connect(find_cluster(kubeconfig))
    ports = kueue.Ports.free()
    documents = list(kueue.manifests(CACHE, helm, ports))
    kueue.install(api, documents)
    try:
        process = kueue.KueueProcess(CACHE / "bin/kueue", api, kubeconfig, tmp_path / "kueue", ports)
        try:
            found = Queues(api, namespace.name)
            yield found
            found.remove()
        finally:
            process.stop()
    finally:
        kueue.remove(api, documents)


def exported(space: live.Namespace, scale: int, *, script: str, gpu: bool) -> list[dict[str, Any]]:
    """A model that a container writes, by this script."""
    settings = space.put(f"settings-{scale}/scale.txt", str(scale)).removesuffix("scale.txt")
    export = {
        "image": IMAGE,
        "command": ["python", "/inputs/export.py"],
        "gpu": gpu,
        "inputs": [
            {"name": "export.py", "source": {"inline": script}},
            {"name": "settings", "source": {"uri": settings}},
        ],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
    }
    return [{"name": "net", "maxBatchSize": 8, "onnxruntime": {"export": export}}]


def answers(ensemble: live.Ensemble, scale: float) -> None:
    ensemble.wait(seconds=420)
    (answer,) = ensemble.infer("net", {"X": np.ones((1, 4), np.float32)}).values()
    np.testing.assert_array_equal(answer, np.full((1, 4), scale, np.float32))


def end(ensemble: live.Ensemble) -> None:
    """While the driver runs: without it no pod with a claim can end."""
    ensemble.delete()
    pods = ensemble.namespace.items
    live.eventually(lambda: not pods("pods", "ensembles.dev/role=server"), what=ensemble.namespace.name)


def test_build_and_server_have_their_device(namespace: live.Namespace, one_device: None) -> None:
    serving = {"targets": TARGETS, "drainSeconds": 1}
    first = namespace.apply(
        "first", exported(namespace, 3, script=HAS_DEVICE + SCRIPT, gpu=True), serving=serving
    )
    missing = first.wait("Reconciling", "ClaimTemplateMissing", seconds=180)
    assert '"one-gpu" not found; create it in this namespace' in missing["message"]
    namespace.kubectl("apply", "-f", "-", text=json.dumps(driver.template("one-gpu")))
    answers(first, 3)
    (pod,) = namespace.items("pods", "ensembles.dev/role=server")
    said = namespace.kubectl(
        *("exec", pod["metadata"]["name"], "-c", "tritonserver", "--", "printenv", driver.FAKE_GPU)
    )
    assert said.strip() == "seven"

    second = namespace.apply(
        "second", exported(namespace, 5, script=HAS_DEVICE + SCRIPT, gpu=True), serving=serving
    )
    waits_for_gpu(second, "cannot allocate all claims")
    first.delete()
    answers(second, 5)
    end(second)


def test_a_node_whose_driver_is_away(namespace: live.Namespace, tmp_path: Path) -> None:
    localnode.require()
    namespace.kubectl("apply", "-f", "-", text=json.dumps(driver.template("one-gpu")))
    try:
        driver.claim_devices(1)
        models = exported(namespace, 9, script=HAS_DEVICE + SCRIPT, gpu=True)
        ensemble = namespace.apply("late", models, serving={"targets": TARGETS, "drainSeconds": 1})
        told = ensemble.wait("Reconciling", "Unschedulable", seconds=180)
        assert "Failed to prepare dynamic resources" in told["message"]
        assert ensemble.condition("Stalled") == {}
        with driver.running(tmp_path / "driver.log", devices=1):
            answers(ensemble, 9)
            end(ensemble)
    finally:
        driver.remove()


SLOW = """
import time

time.sleep(20)
"""


def test_a_build_is_taken_off_its_node_and_done_again(namespace: live.Namespace, queues: Queues) -> None:
    queues.make("gpus", gpus=0, cpus="150m")  # for one of the two
    low, high = queues.priority("low", 1), queues.priority("high", 1000)
    models = exported(namespace, 7, script=SLOW + SCRIPT, gpu=False)
    ensemble = namespace.apply("net", models, build={"queueName": "gpus", "priorityClassName": low})

    def at_work(*, after: str = "") -> str:
        """uid of the pod whose container writes the model; not the one before it."""
        for pod in namespace.items("pods", "ensembles.dev/role=build"):
            states = [found["state"] for found in pod["status"].get("initContainerStatuses", ())[1:]]
            if pod["metadata"]["uid"] != after and any("running" in state for state in states):
                return str(pod["metadata"]["uid"])
        return ""

    first = live.eventually(at_work, seconds=240, what=ensemble.describe)
    (job,) = namespace.items("jobs", "ensembles.dev/role=build")

    limits = {"cpu": "100m", "memory": "64Mi"}
    command = ["python", "-c", "import time; time.sleep(5)"]
    other = rival(namespace.name, priority=high, limits=limits, image=IMAGE, command=command)
    namespace.kubectl("apply", "-f", "-", text=json.dumps(other))
    told = ensemble.wait("Reconciling", "WaitingInQueue", seconds=120)
    assert "was stopped by Kueue (Preempted) and waits in queue gpus" in told["message"]
    assert ensemble.condition("Stalled") == {}

    live.eventually(lambda: at_work(after=first), seconds=240, what=ensemble.describe)
    (again,) = namespace.items("jobs", "ensembles.dev/role=build")
    assert again["metadata"]["uid"] == job["metadata"]["uid"], "no other attempt"
    answers(ensemble, 7)
