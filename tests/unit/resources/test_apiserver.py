"""A real API server takes every rendered object, adds its defaults, and `covers` still holds.

The API server is the one KUBECONFIG names, or one started for these tests.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from ensemble_operator.cluster.client import KubernetesApi, Object
from ensemble_operator.cluster.errors import ApiError
from ensemble_operator.cluster.kinds import kind_named
from ensemble_operator.resources.drift import covers

CLUSTER_TOOL = Path(__file__).parents[2] / "cluster" / "cluster.py"
NAMESPACES = "/api/v1/namespaces"
CLUSTER_SCOPED: dict[str, Object] = {
    "/apis/scheduling.k8s.io/v1/priorityclasses": {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "ensembles-test-serving"},
        "value": 1000,
    },
    "/apis/node.k8s.io/v1/runtimeclasses": {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "ensembles-test-nvidia"},
        "handler": "nvidia",
    },
}
STRICT = {"fieldValidation": "Strict"}

pytestmark = pytest.mark.apiserver


@dataclass(frozen=True)
class Cluster:
    api: KubernetesApi
    namespace: str
    owner_uid: str

    def post(self, path: str, body: Object, **query: str) -> Object:
        return self.api._request("POST", path, body=body, query={**STRICT, **query})

    def placed(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """The manifest in this namespace, owned by an object that exists, running no pod."""
        placed = copy.deepcopy(manifest)
        placed["metadata"]["namespace"] = self.namespace
        placed["metadata"]["name"] = f"{placed['metadata']['name'][:40]}-{uuid.uuid4().hex[:6]}"
        for owner in placed["metadata"].get("ownerReferences", []):
            owner |= {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": self.owner_uid}
        if placed["kind"] == "Deployment":
            placed["spec"]["replicas"] = 0
        if placed["kind"] == "Job":
            placed["spec"]["suspend"] = True
        return placed


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if given := os.environ.get("KUBECONFIG"):
        yield given
        return
    state = tmp_path_factory.mktemp("control-plane")
    tool = [sys.executable, str(CLUSTER_TOOL)]
    subprocess.run([*tool, "up", "--control-plane-only", "--state", str(state), "--port", "0"], check=True)
    try:
        yield str(state / "kubeconfig")
    finally:
        subprocess.run([*tool, "down", "--state", str(state)], check=True)


@pytest.fixture(scope="module")
def cluster(kubeconfig: str) -> Iterator[Cluster]:
    """A namespace that enforces `restricted` Pod Security and has what the pods refer to."""
    configuration = client.Configuration()
    config.load_kube_config(kubeconfig, client_configuration=configuration)
    api = KubernetesApi(client.ApiClient(configuration))
    namespace = f"resources-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api._request("POST", NAMESPACES, body={"metadata": {"name": namespace, "labels": labels}})
    owner = api._request("POST", f"{NAMESPACES}/{namespace}/configmaps", body={"metadata": {"name": "owner"}})
    for account in ("default", "models", "serving"):
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}
        path = f"{NAMESPACES}/{namespace}/serviceaccounts/{account}"
        api._request(
            "PATCH", path, body=body, content_type="application/apply-patch+yaml",
            query={"fieldManager": "tests"},
        )  # fmt: skip
    for path, thing in CLUSTER_SCOPED.items():
        api._request(
            "PATCH", f"{path}/{thing['metadata']['name']}", body=thing,
            content_type="application/apply-patch+yaml", query={"fieldManager": "tests"},
        )  # fmt: skip
    yield Cluster(api, namespace, owner["metadata"]["uid"])
    api._request("DELETE", f"{NAMESPACES}/{namespace}")


def test_takes_every_object_with_strict_field_validation(cluster: Cluster, manifest: dict[str, Any]) -> None:
    placed = cluster.placed(manifest)
    kind = kind_named(placed["kind"])
    created = cluster.post(kind.path(cluster.namespace), placed)
    live = cluster.api.get(kind, cluster.namespace, created["metadata"]["name"])
    assert covers(live, placed)


def test_applying_again_changes_nothing(cluster: Cluster, manifest: dict[str, Any]) -> None:
    placed = cluster.placed(manifest)
    kind = kind_named(placed["kind"])
    first = cluster.api.apply(kind, placed)
    assert covers(first, placed)
    again = cluster.api.apply(kind, placed)
    # Controllers write status in between, and with it another resourceVersion.
    assert again["metadata"].get("generation") == first["metadata"].get("generation")
    assert _without_status(again) == _without_status(first)


def test_applying_mends_what_covers_reports(cluster: Cluster, manifest: dict[str, Any]) -> None:
    placed = cluster.placed(manifest)
    kind = kind_named(placed["kind"])
    cluster.api.apply(kind, placed)
    name = placed["metadata"]["name"]
    labels = {"metadata": {"labels": dict.fromkeys(placed["metadata"]["labels"], "edited")}}
    edited = cluster.api.patch(kind, cluster.namespace, name, labels)
    assert not covers(edited, placed)
    assert covers(cluster.api.apply(kind, placed), placed)


EDITS: dict[str, Callable[[Any], object]] = {
    "image": lambda pod: pod["containers"][0].update(image="other"),
    "argument": lambda pod: pod["containers"][0]["args"].append("--log-verbose=9"),
    "request": lambda pod: pod["containers"][0]["resources"]["requests"].update(cpu="3"),
    "shared memory": lambda pod: pod["volumes"][3].update(emptyDir={"sizeLimit": "1Mi"}),
    "grace": lambda pod: pod.update(terminationGracePeriodSeconds=20),
    "token": lambda pod: pod.pop("automountServiceAccountToken"),
    "probe": lambda pod: pod["containers"][0].pop("livenessProbe"),
    "mount": lambda pod: pod["containers"][0]["volumeMounts"].pop(),
    "init": lambda pod: pod.pop("initContainers"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_server_is_seen_and_mended(cluster: Cluster, deployment: dict[str, Any], what: str) -> None:
    """Created as the operator creates it, by POST; edited by somebody else; mended by server-side apply."""
    placed = cluster.placed(deployment)
    kind = kind_named("Deployment")
    live = copy.deepcopy(dict(cluster.post(kind.path(cluster.namespace), placed)))
    EDITS[what](live["spec"]["template"]["spec"])
    del live["metadata"]["resourceVersion"]
    path = kind.path(cluster.namespace, placed["metadata"]["name"])
    edited = cluster.api._request("PUT", path, body=live, query={"fieldManager": "kubectl-edit"})
    assert not covers(edited, placed)
    assert covers(cluster.api.apply(kind, placed), placed)


def test_restricted_pod_security_admits_every_pod(cluster: Cluster, workload: dict[str, Any]) -> None:
    template = workload["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "generateName": "p-", "namespace": cluster.namespace},
        "spec": template["spec"],
    }
    admitted = cluster.post(f"{NAMESPACES}/{cluster.namespace}/pods", pod, dryRun="All")
    assert covers(admitted["spec"], {"containers": pod["spec"]["containers"]})


def test_the_namespace_does_enforce_restricted(cluster: Cluster) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    with pytest.raises(ApiError, match="violates PodSecurity"):
        cluster.post(f"{NAMESPACES}/{cluster.namespace}/pods", pod, dryRun="All")


def test_the_data_of_a_rollout_cannot_change(cluster: Cluster, revision: dict[str, Any]) -> None:
    placed = cluster.placed(revision)
    kind = kind_named("ControllerRevision")
    created = cluster.post(kind.path(cluster.namespace), placed)
    assert created["data"] == placed["data"]
    with pytest.raises(ApiError, match="immutable"):
        cluster.api.patch(kind, cluster.namespace, placed["metadata"]["name"], {"data": {"revision": "x"}})


def _without_status(live: Object) -> dict[str, Any]:
    metadata = {k: v for k, v in live["metadata"].items() if k not in {"managedFields", "resourceVersion"}}
    metadata["annotations"] = {
        k: v
        for k, v in metadata.get("annotations", {}).items()
        if not k.startswith("deployment.kubernetes.io/")
    }
    return {**{k: v for k, v in live.items() if k != "status"}, "metadata": metadata}
