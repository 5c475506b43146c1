"""Builds in a queue of the real Kueue. Operator, API server, controllers and Kueue are real, the kubelet is a
fake: what a pod's images would do is invented, when it may run is not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.kinds import DEPLOYMENT, ENSEMBLE, JOB, POD
from ensembles_api.contract import NextBuild, Result
from tests.operator.control_plane import eventually
from tests.operator.fake_kubelet import FakeKubelet, Pod
from tests.operator.test_claims import make_template
from tests.operator.test_lifecycle import ALONE, KEY, World, condition, status, wait_for
from tests.scheduling import kueue
from tests.scheduling.conftest import Scene
from tests.scheduling.queues import PRIORITY, rival

pytestmark = [pytest.mark.apiserver, pytest.mark.helm, pytest.mark.go, pytest.mark.scheduling]

TARGETS = [{"name": "l4", "gpu": {"product": "NVIDIA-L4"}}]
TIMEOUT = 30
BUILD = {"queueName": "gpus", "timeoutSeconds": TIMEOUT}


class Factory(World):
    """The first assemble Job asks for an engine; its build ends when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.missing_build = True
        self.may_end = True

    def decide(self, pod: Pod) -> Mapping[str, Any] | None:
        role = pod["metadata"]["labels"].get("ensembles.dev/role")
        if role is None or (role == "build" and not self.may_end):
            return None
        return super().decide(pod)

    def _assembled(self, pod: Pod) -> Result:
        found = super()._assembled(pod)
        engine = NextBuild(kind="tensorrt", key=KEY, model="net", gpu=True, target="l4")
        return found.model_copy(update={"next": (engine,)}) if found.next else found


@pytest.fixture
def world(api: KubernetesApi, namespace: str) -> Iterator[Factory]:
    world = Factory()
    with FakeKubelet(api, namespace, world.decide):
        yield world


def test_a_build_waits_for_its_queue_and_no_time_runs(scene: Scene, world: Factory) -> None:
    scene.start_kueue()
    scene.queues.make("gpus", gpus=0)
    first = scene.start_operator(ALONE)
    first.wait_for('"working"')
    target = scene.create_ensemble(build=BUILD, serving={"targets": TARGETS})
    wait_for(scene.api, target, "Reconciling", "WaitingInQueue")
    message = scene.says(target, "waits in queue gpus: ", "nvidia.com/gpu", " (since 20")
    (job,) = scene.of_builds(JOB)
    assert f"Job {job['metadata']['name']} " in message
    assert job["spec"]["suspend"] is True
    assert "activeDeadlineSeconds" not in job["spec"]
    assert condition(scene.api, target, "Stalled") == {}
    (model,) = status(scene.api, target)["models"]
    assert model["state"] == "Waiting"

    first.kill()
    time.sleep(TIMEOUT + 5)
    scene.start_operator(ALONE).wait_for('"working"')
    scene.says(target, "waits in queue gpus: ")
    assert scene.build_uids() == [job["metadata"]["uid"]]
    assert world.builds == 0

    world.may_end = False
    scene.queues.resize("gpus", gpus=1)
    wait_for(scene.api, target, "Reconciling", "Building")
    (pod,) = eventually(lambda: scene.of_builds(POD), what="the build's pod")
    assert pod["spec"]["nodeSelector"]["cabinet"] == "seven", "the flavor's nodes"
    assert pod["spec"]["nodeSelector"]["nvidia.com/gpu.product"] == "NVIDIA-L4"
    world.may_end = True
    wait_for(scene.api, target, "Ready")
    assert world.builds == 1
    (servers,) = scene.api.list(DEPLOYMENT, scene.namespace).items
    assert "kueue.x-k8s.io/queue-name" not in servers["metadata"]["labels"], "only builds queue"


def test_a_build_that_is_preempted_waits_and_begins_again(scene: Scene, world: Factory) -> None:
    scene.start_kueue()
    scene.queues.make("gpus", gpus=1)
    world.may_end = False
    scene.start_operator(ALONE).wait_for('"working"')
    low, high = scene.queues.priority("low", 1), scene.queues.priority("high", 1000)
    build = {**BUILD, "priorityClassName": low, "timeoutSeconds": 600}
    target = scene.create_ensemble(build=build, serving={"targets": TARGETS})
    wait_for(scene.api, target, "Reconciling", "Building")
    (first,) = eventually(lambda: scene.of_builds(POD), what="the build's pod")
    uids = scene.build_uids()

    limits = {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}
    other = rival(scene.namespace, priority=high, limits=limits, image="example.com/training:1", command=[])
    uid = scene.api.create(JOB, other)["metadata"]["uid"]
    wait_for(scene.api, target, "Reconciling", "WaitingInQueue")
    scene.says(target, "was stopped by Kueue (Preempted) and waits in queue gpus", "nvidia.com/gpu")
    assert condition(scene.api, target, "Stalled") == {}
    eventually(lambda: not scene.of_builds(POD), what="it is off its node")

    scene.api.delete(JOB, scene.namespace, "training", uid=uid)
    wait_for(scene.api, target, "Reconciling", "Building")
    (second,) = eventually(lambda: scene.of_builds(POD), what="its next pod")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert scene.build_uids() == uids, "no other attempt"
    world.may_end = True
    wait_for(scene.api, target, "Ready")
    assert world.builds == 1


def test_there_is_room_and_a_check_is_open(scene: Scene, world: Factory) -> None:
    scene.start_kueue()
    scene.queues.make("gpus", gpus=1)
    check = scene.queues.check("nodes", queue="gpus")
    scene.start_operator(ALONE).wait_for('"working"')
    target = scene.create_ensemble(build=BUILD, serving={"targets": TARGETS})
    wait_for(scene.api, target, "Reconciling", "WaitingInQueue")
    scene.says(target, f"waits in queue gpus: admission check {check} is Pending")
    (workload,) = scene.api.list(kueue.WORKLOAD, scene.namespace).items
    agreed = {**workload["status"]["admissionChecks"][0], "state": "Ready", "message": "there is a node"}
    name = workload["metadata"]["name"]
    status = {"status": {"admissionChecks": [agreed]}}
    scene.api.patch(kueue.WORKLOAD, scene.namespace, name, status, subresource="status")
    wait_for(scene.api, target, "Ready")
    assert world.builds == 1


@pytest.mark.parametrize("field", ["priorityClassName", "workloadPriorityClassName"])
def test_a_priority_that_comes_late(scene: Scene, world: Factory, field: str) -> None:
    scene.start_kueue()
    scene.queues.make("gpus", gpus=1)
    scene.start_operator(ALONE).wait_for('"working"')
    build = {**BUILD, field: f"low-{scene.namespace}"}
    target = scene.create_ensemble(build=build, serving={"targets": TARGETS})
    wait_for(scene.api, target, "Reconciling", "WaitingInQueue")
    scene.says(
        target, "Kueue, which has not put it into queue gpus: does the priority class of spec.build exist?"
    )
    of_pods = field == "priorityClassName"
    scene.queues.priority("low", 7, kind=PRIORITY if of_pods else kueue.WORKLOAD_PRIORITY)
    (workload,) = eventually(lambda: scene.api.list(kueue.WORKLOAD, scene.namespace).items, seconds=120)
    assert workload["spec"]["priority"] == 7
    wait_for(scene.api, target, "Ready", seconds=120)
    assert world.builds == 1


def test_a_queue_that_does_not_exist_and_another_one(scene: Scene, world: Factory) -> None:
    scene.start_kueue()
    scene.start_operator(ALONE).wait_for('"working"')
    target = scene.create_ensemble(build=BUILD, serving={"targets": TARGETS})
    wait_for(scene.api, target, "Reconciling", "QueueMissing")
    message = condition(scene.api, target, "Reconciling")["message"]
    assert message.startswith("spec.build.queueName: Job build-tensorrt-")
    assert "LocalQueue 'gpus', which this namespace does not have" in message

    scene.queues.make("full", gpus=0)
    scene.api.patch(ENSEMBLE, scene.namespace, target.name, {"spec": {"build": {"queueName": "full"}}})
    wait_for(scene.api, target, "Reconciling", "WaitingInQueue")
    scene.says(target, "waits in queue full: ")
    eventually(lambda: len(scene.build_uids()) == 1, what="the Job of the former queue goes")
    eventually(
        lambda: len(scene.api.list(kueue.WORKLOAD, scene.namespace).items) == 1, what="so does its Workload"
    )

    scene.api.patch(ENSEMBLE, scene.namespace, target.name, {"spec": {"build": {"queueName": "gpus"}}})
    wait_for(scene.api, target, "Reconciling", "QueueMissing")
    scene.queues.make("gpus", gpus=1)
    wait_for(scene.api, target, "Ready")
    assert world.builds == 1


def test_kueue_takes_a_pod_that_compiles_for_one_that_hangs(scene: Scene, world: Factory) -> None:
    again = {"backoffBaseSeconds": 1, "backoffMaxSeconds": 1}
    scene.start_kueue(waitForPodsReady={"timeout": "8s", "requeuingStrategy": again})
    scene.queues.make("gpus", gpus=1)
    world.may_end = False
    scene.start_operator(ALONE).wait_for('"working"')
    target = scene.create_ensemble(build=BUILD, serving={"targets": TARGETS})
    wait_for(scene.api, target, "Reconciling", "Building")
    uids = scene.build_uids()
    scene.says(target, "was stopped by Kueue (PodsReadyTimeout) and waits in queue gpus")
    world.may_end = True
    wait_for(scene.api, target, "Ready")
    assert scene.build_uids() in ([], uids), "no other attempt"


COUNTS_CLAIMS = {
    "featureGates": {"VisibilityOnDemand": False, "DynamicResourceAllocation": True},
    "resources": {
        "deviceClassMappings": [{"name": "nvidia.com/gpu", "deviceClassNames": ["fake-gpu"]}],
    },
}


@pytest.mark.parametrize(("settings", "reason"), [({}, "Building"), (COUNTS_CLAIMS, "WaitingInQueue")])
def test_a_gpu_by_claim_counts_where_kueue_is_told_to(
    scene: Scene, world: Factory, settings: dict[str, Any], reason: str
) -> None:
    scene.start_kueue(**settings)
    scene.queues.make("gpus", gpus=0)
    make_template(scene.api, scene.namespace, "fake-gpu")
    world.may_end = False
    scene.start_operator(ALONE).wait_for('"working"')
    gpu = {"product": "NVIDIA-L4", "resourceClaimTemplateName": "one-gpu"}
    target = scene.create_ensemble(build=BUILD, serving={"targets": [{"name": "l4", "gpu": gpu}]})
    wait_for(scene.api, target, "Reconciling", reason)
    eventually(lambda: bool(scene.of_builds(POD)) == (reason == "Building"), what="whether it may run")
    world.may_end = True
    scene.queues.resize("gpus", gpus=1)
    wait_for(scene.api, target, "Ready")


def test_deleted_while_it_waits_nothing_stays(scene: Scene, world: Factory) -> None:
    scene.start_kueue()
    scene.queues.make("gpus", gpus=0)
    scene.start_operator(ALONE).wait_for('"working"')
    target = scene.create_ensemble(build=BUILD, serving={"targets": TARGETS}, deletionPolicy="Delete")
    wait_for(scene.api, target, "Reconciling", "WaitingInQueue")
    scene.api.delete(ENSEMBLE, scene.namespace, target.name, uid=target.uid)

    def gone() -> bool:
        kinds = (ENSEMBLE, JOB, kueue.WORKLOAD)
        return not any(scene.api.list(kind, scene.namespace).items for kind in kinds)

    eventually(gone, seconds=60, what="ensemble, Jobs and Workloads go")
    assert world.builds == 0


def test_where_kueue_manages_every_job(scene: Scene, world: Factory) -> None:
    scene.start_kueue(manageJobsWithoutQueueName=True)
    scene.start_operator(ALONE).wait_for('"working"')
    target = scene.create_ensemble(serving={"targets": TARGETS})
    wait_for(scene.api, target, "Reconciling", "WaitingInQueue")
    scene.says(target, "-asm-", "is suspended, and in no queue", "make a LocalQueue named default")
    assert world.done_jobs == []
    scene.queues.make("default", gpus=1)
    (job,) = scene.api.list(JOB, scene.namespace).items
    # Kueue gives a default to Jobs that come after it.
    scene.api.delete(JOB, scene.namespace, job["metadata"]["name"], uid=job["metadata"]["uid"])
    wait_for(scene.api, target, "Ready")
    assert world.builds == 1


def test_kueue_is_away_for_a_while(scene: Scene, world: Factory) -> None:
    process = scene.start_kueue()
    scene.queues.make("gpus", gpus=1)
    scene.start_operator(ALONE).wait_for('"working"')
    process.stop()
    target = scene.create_ensemble(build=BUILD, serving={"targets": TARGETS})
    wait_for(scene.api, target, "Reconciling", "ApiUnavailable")
    scene.says(target, "mjob.kb.io")
    scene.start_kueue()
    wait_for(scene.api, target, "Ready")
    assert world.builds == 1
