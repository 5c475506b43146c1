"""What Kueue says of a Job, on a real API server with two versions of Workloads, as Kueue 0.15 has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import ApiError, UnavailableError
from ensemble_operator.cluster.kinds import WORKLOADS, Kind
from ensemble_operator.observe.queues import LABEL_JOB_UID, seen_in_queue
from ensemble_operator.plan.observation import QueueSeen
from tests.operator.control_plane import eventually

pytestmark = pytest.mark.apiserver

CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
NEW, OLD = WORKLOADS
NO_ROOM = "insufficient unused quota for nvidia.com/gpu in flavor l4"


@pytest.fixture
def workload(api: KubernetesApi, namespace: str) -> Iterator[dict[str, Any]]:
    """A Job that waits; its Workload is stored in the older version, and nobody converts it."""
    path = CRD.path(None)
    api._request("POST", path, body=_crd())
    job = {"metadata": {"uid": "some-uid", "name": "build", "namespace": namespace}}
    manifest = {
        "apiVersion": OLD.api_version,
        "kind": OLD.name,
        "metadata": {"name": "build", "namespace": namespace, "labels": {LABEL_JOB_UID: "some-uid"}},
        "spec": {"active": True},
        "status": {"conditions": [{"type": "QuotaReserved", "status": "False", "message": NO_ROOM}]},
    }

    def created() -> bool:
        try:
            api.create(OLD, manifest)
        except ApiError:
            return False
        return True

    eventually(created, what="the API server serves Workloads")
    yield job
    api._request("DELETE", f"{path}/workloads.kueue.x-k8s.io")


def test_kueue_that_is_away_keeps_nobody_from_looking(api: KubernetesApi, workload: dict[str, Any]) -> None:
    with pytest.raises(UnavailableError, match="conversion webhook"):
        api.list(NEW, workload["metadata"]["namespace"])
    assert seen_in_queue(api, workload) == QueueSeen(NO_ROOM)


def _crd() -> dict[str, Any]:
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [
        {"name": kind.api_version.split("/")[1], "served": True, "storage": kind == OLD, "schema": anything}
        for kind in WORKLOADS
    ]
    webhook = {"clientConfig": {"url": "https://127.0.0.1:1/convert"}, "conversionReviewVersions": ["v1"]}
    return {
        "apiVersion": CRD.api_version,
        "kind": CRD.name,
        "metadata": {"name": "workloads.kueue.x-k8s.io"},
        "spec": {
            "group": "kueue.x-k8s.io",
            "names": {"kind": OLD.name, "plural": "workloads", "singular": "workload"},
            "scope": "Namespaced",
            "versions": versions,
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    }
