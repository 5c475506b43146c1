"""Whole lives of ensembles: operator, API server and controllers are real, the kubelet is a fake."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ensemble_operator.apply.executor import Target
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import NotFoundError
from ensemble_operator.cluster.kinds import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    ENSEMBLE,
    EVENT,
    JOB,
    SERVICE,
    Kind,
)
from ensembles_api.contract import Fault, NextBuild, Result, ServerRequirements
from ensembles_api.reasons import Reason
from tests.operator.conftest import CreateEnsemble, StartOperator
from tests.operator.control_plane import eventually
from tests.operator.fake_kubelet import FakeKubelet, Pod, failed, ready, succeeded

pytestmark = pytest.mark.apiserver

ALONE = "--no-leader-election"
KEY = "2" * 64


class World:
    """What the pods of a namespace would have done."""

    def __init__(self) -> None:
        self.builds = 0
        self.missing_build = False
        """The first assemble Job asks for a build."""
        self.verdict: Fault | None = None
        self.broken_servers = False
        self.done_jobs: list[str] = []

    def decide(self, pod: Pod) -> Mapping[str, Any] | None:
        labels = pod["metadata"]["labels"]
        role = labels.get("ensembles.dev/role")
        if role == "server":
            return None if self.broken_servers else ready(pod)
        self.done_jobs.append(labels["job-name"])
        match role:
            case "assemble":
                return succeeded(pod, {"assemble": self._assembled(pod).message()})
            case "build":
                self.builds += 1
                return succeeded(pod, {"upload": Result(lock=_lock(pod)).message()})
            case "verify" if self.verdict:
                return failed(pod, {"verify": Result(fault=self.verdict).message()})
            case "verify" | "prune":
                return succeeded(pod, {role: Result().message()})
        raise AssertionError(f"unknown role {role}")

    def _assembled(self, pod: Pod) -> Result:
        lock = _lock(pod)
        if self.missing_build and not self.builds:
            return Result(lock=lock, next=(NextBuild(kind="dali", key=KEY, model="net"),))
        revision = hashlib.sha256(f"{lock}{self.builds}".encode()).hexdigest()
        return Result(lock=lock, revision=revision, server=ServerRequirements(entrypoint="net"))


def _lock(pod: Pod) -> str:
    """The same for the same inputs, as a real one would be."""
    annotations = pod["metadata"].get("annotations") or {}
    text = annotations.get("ensembles.dev/inputs") or pod["metadata"]["labels"].get(
        "ensembles.dev/inputs", ""
    )
    return hashlib.sha256(str(text).encode()).hexdigest()


@pytest.fixture
def world(api: KubernetesApi, namespace: str) -> Iterator[World]:
    world = World()
    with FakeKubelet(api, namespace, world.decide):
        yield world


def status(api: KubernetesApi, target: Target) -> dict[str, Any]:
    return dict(api.get(ENSEMBLE, target.namespace, target.name).get("status") or {})


def condition(api: KubernetesApi, target: Target, kind: str) -> dict[str, Any]:
    resource = api.get(ENSEMBLE, target.namespace, target.name)
    found = resource.get("status") or {}
    if found.get("observedGeneration") != resource["metadata"]["generation"]:
        return {}
    return next((dict(c) for c in found.get("conditions") or () if c["type"] == kind), {})


def wait_for(api: KubernetesApi, target: Target, kind: str, reason: str = "", *, seconds: float = 60) -> None:
    def reached() -> bool:
        found = condition(api, target, kind)
        return found.get("status") == "True" and reason in ("", found.get("reason"))

    try:
        eventually(reached, seconds=seconds)
    except AssertionError:
        pytest.fail(f"{kind} {reason} not reached: {status(api, target)}")


def edit(api: KubernetesApi, target: Target, uri: str) -> None:
    models = [{"name": "net", "onnxruntime": {"source": {"uri": uri}}}]
    api.patch(ENSEMBLE, target.namespace, target.name, {"spec": {"models": models}})


def names_of(api: KubernetesApi, kind: Any, namespace: str) -> set[str]:
    return {item["metadata"]["name"] for item in api.list(kind, namespace).items}


def test_from_apply_to_ready_and_to_the_next_revision(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, world: World
) -> None:
    world.missing_build = True
    operator = start_operator(ALONE)
    operator.wait_for('"working"')
    target = create_ensemble(rollout={"retainSeconds": 1, "watchSeconds": 0})
    wait_for(api, target, "Ready")
    assert world.builds == 1
    first = status(api, target)
    assert first["url"] == f"http://demo.{target.namespace}.svc:8000"
    selector = api.get(SERVICE, target.namespace, "demo")["spec"]["selector"]
    assert selector["ensembles.dev/rollout"] == first["rollout"]
    wait_for(api, target, "Available")
    for gone in ("Stalled", "Reconciling"):
        assert condition(api, target, gone) == {}

    edit(api, target, "s3://models/other.onnx")
    eventually(
        lambda: condition(api, target, "Ready").get("status") == "True", seconds=60, what="Ready again"
    )
    second = status(api, target)
    assert second["rollout"] != first["rollout"]
    selector = api.get(SERVICE, target.namespace, "demo")["spec"]["selector"]
    assert selector["ensembles.dev/rollout"] == second["rollout"]
    eventually(
        lambda: len(names_of(api, DEPLOYMENT, target.namespace)) == 1, seconds=60, what="the old servers go"
    )
    assert len(names_of(api, CONTROLLER_REVISION, target.namespace)) == 2, "its record stays"
    revisions = api.list(CONTROLLER_REVISION, target.namespace).items
    outcomes = {r["metadata"]["annotations"].get("ensembles.dev/outcome") for r in revisions}
    assert outcomes <= {"Promoted", "Superseded"}
    reasons = {
        e["reason"] for e in api.list(EVENT, target.namespace).items if e["involvedObject"]["name"] == "demo"
    }
    assert "Ready" in reasons

    def quiet() -> bool:
        before = _passes(operator.metrics())
        time.sleep(5)
        return _passes(operator.metrics()) == before

    eventually(quiet, what="an ensemble that is ready costs nothing")


def _passes(metrics: str) -> float:
    name = "ensemble_operator_reconcile_seconds_count"
    return next(float(row.split()[1]) for row in metrics.splitlines() if row.startswith(name))


def events(api: KubernetesApi, target: Target) -> list[Mapping[str, Any]]:
    """The Events on the resource itself."""
    return [e for e in api.list(EVENT, target.namespace).items if e["involvedObject"]["uid"] == target.uid]


def test_failed_verification_leaves_the_old_servers_serving(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, world: World
) -> None:
    start_operator(ALONE).wait_for('"working"')
    target = create_ensemble()
    wait_for(api, target, "Ready")
    first = status(api, target)["rollout"]
    world.verdict = Fault(code=Reason.VERIFICATION_FAILED, message="model net: output y is NaN")
    edit(api, target, "s3://models/bad.onnx")
    wait_for(api, target, "Stalled", "VerificationFailed")
    assert status(api, target)["rollout"] == first
    assert condition(api, target, "Ready")["status"] == "False"
    assert condition(api, target, "Available")["status"] == "True"
    assert "NaN" in condition(api, target, "Stalled")["message"]
    selector = api.get(SERVICE, target.namespace, "demo")["spec"]["selector"]
    assert selector["ensembles.dev/rollout"] == first
    world.verdict = None
    before = len([name for name in world.done_jobs if "-asm-" in name])
    edit(api, target, "s3://models/net.onnx")
    wait_for(api, target, "Ready")
    assert status(api, target)["rollout"] == first, "back to what serves: no new rollout"
    assert len([name for name in world.done_jobs if "-asm-" in name]) == before, "and nothing is assembled"


def test_deletion_with_pruning(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, world: World
) -> None:
    start_operator(ALONE).wait_for('"working"')
    target = create_ensemble(deletionPolicy="Delete")
    wait_for(api, target, "Ready")
    api.delete(ENSEMBLE, target.namespace, target.name, uid=target.uid)

    def gone() -> bool:
        try:
            api.get(ENSEMBLE, target.namespace, target.name)
        except NotFoundError:
            return True
        return False

    eventually(gone, seconds=60, what="the resource is let go")
    assert any("-prune-" in name for name in world.done_jobs)
    eventually(lambda: not names_of(api, DEPLOYMENT, target.namespace), seconds=60, what="no servers")


def test_a_strangers_service_is_left_alone_until_it_goes(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, world: World
) -> None:
    start_operator(ALONE).wait_for('"working"')
    target = create_ensemble("other", suspend=True)
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "wanted", "namespace": target.namespace},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]},
    }
    stranger = api.create(SERVICE, theirs)
    target = create_ensemble("wanted")
    wait_for(api, target, "Stalled", "ObjectNotOwned")
    assert "Service 'wanted'" in condition(api, target, "Stalled")["message"]
    assert api.get(SERVICE, target.namespace, "wanted")["spec"]["selector"] == {"app": "theirs"}
    assert world.done_jobs
    api.delete(SERVICE, target.namespace, "wanted", uid=stranger["metadata"]["uid"])
    wait_for(api, target, "Ready", seconds=120)


def test_pod_settings_that_the_api_server_refuses(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, world: World
) -> None:
    start_operator(ALONE).wait_for('"working"')
    target = create_ensemble(serving={"tolerations": [{"key": "gpu", "operator": "Sometimes"}]})
    wait_for(api, target, "Stalled", "InvalidPodSettings")
    message = condition(api, target, "Stalled")["message"]
    assert message.startswith("spec.serving")
    assert "tolerations[0].operator" in message
    assert world.done_jobs
    api.patch(ENSEMBLE, target.namespace, target.name, {"spec": {"serving": {"tolerations": None}}})
    wait_for(api, target, "Ready", seconds=120)


def test_quota_is_waited_for(
    api: KubernetesApi,
    start_operator: StartOperator,
    create_ensemble: CreateEnsemble,
    world: World,
    namespace: str,
) -> None:
    quota = Kind("v1", "ResourceQuota", "resourcequotas")
    manifest = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": namespace},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    api.create(quota, manifest)
    eventually(lambda: api.get(quota, namespace, "q").get("status", {}).get("hard"), what="the quota")
    start_operator(ALONE).wait_for('"working"')
    target = create_ensemble()
    wait_for(api, target, "Reconciling", "QuotaExceeded")
    assert "count/jobs.batch" in condition(api, target, "Reconciling")["message"]
    assert world.done_jobs == []
    api.patch(quota, namespace, "q", {"spec": {"hard": {"count/jobs.batch": "9"}}})
    wait_for(api, target, "Ready", seconds=120)


@pytest.mark.parametrize("seed", [1, 2])
def test_operator_killed_again_and_again_comes_to_the_same_end(
    api: KubernetesApi,
    start_operator: StartOperator,
    create_ensemble: CreateEnsemble,
    world: World,
    seed: int,
) -> None:
    rng = random.Random(seed)
    world.missing_build = True
    target = create_ensemble()
    for _ in range(6):
        operator = start_operator(ALONE)
        operator.wait_for('"working"')
        time.sleep(rng.uniform(0, 1.2))
        operator.kill()
    start_operator(ALONE).wait_for('"working"')
    wait_for(api, target, "Ready", seconds=90)
    assert world.builds == 1, "nothing is built twice"
    assert len(names_of(api, DEPLOYMENT, target.namespace)) == 1
    names = names_of(api, JOB, target.namespace)
    assert len([name for name in names if name.startswith("build-")]) <= 1
    told = [(event["reason"], event["message"]) for event in events(api, target)]
    assert len(told) == len(set(told)), "no news twice"
