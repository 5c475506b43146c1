"""Autoscalers on a real API server with its controllers; the kubelet is a fake, and nothing measures load."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ensemble_operator.apply.executor import Target
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import InvalidError
from ensemble_operator.cluster.kinds import DEPLOYMENT, ENSEMBLE, HPA, SCALED_OBJECT, Kind
from tests.gitops.judges import go
from tests.operator.conftest import CreateEnsemble, StartOperator
from tests.operator.control_plane import eventually
from tests.operator.fake_metrics import fake_adapter
from tests.operator.test_lifecycle import ALONE, World, edit, status, wait_for, world

pytestmark = pytest.mark.apiserver

__all__ = ["world"]

KEDA_MODULE = "github.com/kedacore/keda/v2@v2.18.1"
CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
ALL = {"cpuUtilizationPercent": 70, "queueMicroseconds": 5000, "pendingRequests": 4}
BEHAVIOR = {"scaleDown": {"stabilizationWindowSeconds": 600}}
CACHE = Path(os.environ.get("ENSEMBLES_CACHE", "~/.cache/ensembles-cluster")).expanduser()


def scaler(api: KubernetesApi, target: Target, kind: Kind = HPA) -> dict[str, Any]:
    return dict(api.get(kind, target.namespace, "demo-default"))


def set_servers(api: KubernetesApi, target: Target, deployment: str, count: int) -> None:
    """As an autoscaler does it."""
    body = {"spec": {"replicas": count}}
    api.patch(DEPLOYMENT, target.namespace, deployment, body, subresource="scale")


def aim(api: KubernetesApi, target: Target) -> str:
    return str(scaler(api, target)["spec"]["scaleTargetRef"]["name"])


def test_the_autoscaler_owns_the_number_and_moves_with_the_rollout(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, world: World
) -> None:
    start_operator(ALONE).wait_for('"working"')
    scaling = {"maxReplicas": 4, "target": ALL, "behavior": BEHAVIOR}
    target = create_ensemble(autoscaling=scaling)
    wait_for(api, target, "Ready")
    eventually(lambda: api.list(HPA, target.namespace).items, what="an autoscaler")
    first = aim(api, target)
    assert first == status(api, target)["targets"][0]["deployment"]
    assert scaler(api, target)["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 600

    set_servers(api, target, first, 3)
    eventually(lambda: status(api, target).get("replicas") == "3/3", what="three servers")
    assert status(api, target)["scale"]["replicas"] == 3

    edit(api, target, "s3://models/other.onnx")
    wait_for(api, target, "Ready")
    second = status(api, target)["targets"][0]["deployment"]
    assert second != first
    assert status(api, target)["replicas"] == "3/3"
    eventually(lambda: aim(api, target) == second, what="the autoscaler follows")

    api.patch(HPA, target.namespace, "demo-default", {"spec": {"maxReplicas": 99}})
    eventually(lambda: scaler(api, target)["spec"]["maxReplicas"] == 4, what="the edit is taken back")
    version = scaler(api, target)["metadata"]["managedFields"]
    api.patch(ENSEMBLE, target.namespace, target.name, {"spec": {"autoscaling": {"behavior": None}}})
    eventually(lambda: "behavior" not in scaler(api, target)["spec"], what="behavior goes with the spec's")
    assert version

    api.patch(ENSEMBLE, target.namespace, target.name, {"spec": {"autoscaling": None}})
    eventually(lambda: not api.list(HPA, target.namespace).items, what="no autoscaler any more")
    eventually(lambda: status(api, target).get("replicas") == "1/1", what="the spec's number again")


def test_a_refused_autoscaler_names_the_field_and_holds_up_nothing(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, world: World
) -> None:
    start_operator(ALONE).wait_for('"working"')
    wrong = {"scaleDown": {"stabilizationWindowSeconds": -1}}
    target = create_ensemble(autoscaling={"maxReplicas": 4, "target": ALL, "behavior": wrong})
    wait_for(api, target, "Stalled", "InvalidSpec")
    told = next(c for c in status(api, target)["conditions"] if c["type"] == "Stalled")["message"]
    assert told.startswith("spec.autoscaling: ")
    assert "stabilizationWindowSeconds" in told
    wait_for(api, target, "Available")
    api.patch(ENSEMBLE, target.namespace, target.name, {"spec": {"autoscaling": {"behavior": BEHAVIOR}}})
    wait_for(api, target, "Ready")


def test_the_resource_is_scaled_like_a_deployment(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, world: World
) -> None:
    start_operator(ALONE).wait_for('"working"')
    target = create_ensemble()
    wait_for(api, target, "Ready")
    body = {"spec": {"replicas": 2}}
    api.patch(ENSEMBLE, target.namespace, target.name, body, subresource="scale")
    eventually(lambda: status(api, target).get("replicas") == "2/2", what="two servers")
    path = ENSEMBLE.path(target.namespace, target.name, "scale")
    told = api._request("GET", path)
    assert told["spec"]["replicas"] == told["status"]["replicas"] == 2
    rollout = status(api, target)["rollout"]
    assert f"ensembles.dev/rollout={rollout}" in told["status"]["selector"]

    api.patch(ENSEMBLE, target.namespace, target.name, {"spec": {"serving": {"replicas": 1}}})
    scaling = {"maxReplicas": 4, "target": ALL}
    api.patch(ENSEMBLE, target.namespace, target.name, {"spec": {"autoscaling": scaling}})
    with pytest.raises(InvalidError, match=r"serving\.replicas: an autoscaler sets the number"):
        api.patch(ENSEMBLE, target.namespace, target.name, body, subresource="scale")


def test_the_cluster_scales_by_queue_time_and_goes_on_with_the_next_rollout(
    api: KubernetesApi,
    start_operator: StartOperator,
    create_ensemble: CreateEnsemble,
    world: World,
    tmp_path: Path,
) -> None:
    """The controller is Kubernetes' own; a fake adapter tells it how long requests wait."""
    start_operator(ALONE).wait_for('"working"')
    with fake_adapter(api, tmp_path) as metrics:
        metrics.values = {"triton_queue_microseconds": "5k", "triton_pending_requests": "1"}
        wanted = {"queueMicroseconds": 5000, "pendingRequests": 4}
        target = create_ensemble(autoscaling={"maxReplicas": 6, "target": wanted})
        wait_for(api, target, "Ready")
        eventually(lambda: status(api, target)["targets"][0].get("desiredReplicas") == 1, seconds=60)
        metrics.values["triton_queue_microseconds"] = "15k"  # three times as long as it should be
        eventually(lambda: status(api, target).get("replicas") == "3/3", seconds=60, what="three servers")
        metrics.values["triton_queue_microseconds"] = "5k"
        assert "autoscaler" not in status(api, target)["targets"][0]
        rollout = status(api, target)["rollout"]
        selector = f"ensemble=demo,rollout={rollout},target=default"
        # Ensembles of earlier tests may still be asked about.
        assert selector in metrics.asked["triton_pending_requests"]
        assert f"model=net,{selector.partition(',')[2]}" in str(metrics.asked["triton_queue_microseconds"])

        edit(api, target, "s3://models/other.onnx")
        wait_for(api, target, "Ready")
        assert status(api, target)["replicas"] == "3/3"
        asked = f"rollout={status(api, target)['rollout']}"
        eventually(
            lambda: asked in str(metrics.asked["triton_pending_requests"]),
            seconds=60,
            what="the next rollout's servers are measured",
        )
        metrics.values["triton_pending_requests"] = "18"  # 4 for each server make 5 of them
        eventually(lambda: status(api, target).get("replicas") == "5/5", seconds=60, what="five servers")


@pytest.fixture(scope="module")
def keda_crd() -> dict[str, Any]:
    """The ScaledObject's own CRD, out of KEDA's Go module."""
    program, environment = go(CACHE)
    told = subprocess.run(
        [program, "mod", "download", "-json", KEDA_MODULE],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    file = Path(json.loads(told.stdout)["Dir"]) / "config/crd/bases/keda.sh_scaledobjects.yaml"
    return dict(yaml.safe_load(file.read_text()))


@pytest.fixture
def keda(api: KubernetesApi, keda_crd: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """KEDA's CRD, to be installed by the test; without KEDA itself."""
    yield keda_crd
    with_name = CRD.path(None, keda_crd["metadata"]["name"])
    api._request("DELETE", with_name)


@pytest.mark.go
def test_keda_may_come_later(
    api: KubernetesApi,
    start_operator: StartOperator,
    create_ensemble: CreateEnsemble,
    world: World,
    keda: dict[str, Any],
) -> None:
    start_operator(ALONE).wait_for('"working"')
    scaling = {
        "maxReplicas": 4,
        "target": ALL,
        "behavior": BEHAVIOR,
        "keda": {
            "serverAddress": "http://prometheus.monitoring:9090",
            "authenticationName": "prometheus",
            "authModes": "bearer",
        },
    }
    target = create_ensemble(autoscaling=scaling)
    wait_for(api, target, "Reconciling", "KEDAMissing")
    wait_for(api, target, "Available")
    api._request("POST", CRD.path(None), body=keda)
    wait_for(api, target, "Ready")
    eventually(lambda: api.list(SCALED_OBJECT, target.namespace).items, what="a ScaledObject")
    found = scaler(api, target, SCALED_OBJECT)
    # Strict: what KEDA's schema does not know would have been refused or pruned.
    assert [trigger["type"] for trigger in found["spec"]["triggers"]] == ["cpu", "prometheus", "prometheus"]
    assert found["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == BEHAVIOR
    api.patch(SCALED_OBJECT, target.namespace, "demo-default", {"spec": {"maxReplicaCount": 99}})
    eventually(
        lambda: scaler(api, target, SCALED_OBJECT)["spec"]["maxReplicaCount"] == 4,
        what="the edit is taken back",
    )
    api.patch(ENSEMBLE, target.namespace, target.name, {"spec": {"autoscaling": None}})
    eventually(lambda: not api.list(SCALED_OBJECT, target.namespace).items, what="it is gone")
