"""Objects as the operator makes them, and as the API server has them."""

from __future__ import annotations

from typing import Any

from ensemble_operator.apply.executor import Target
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import NotFoundError
from ensemble_operator.cluster.kinds import ENSEMBLE, Kind

Object = dict[str, Any]


def reference(target: Target) -> Object:
    return {
        "apiVersion": ENSEMBLE.api_version,
        "kind": ENSEMBLE.name,
        "name": target.name,
        "uid": target.uid,
        "controller": True,
    }


def service(target: Target, **selector: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "labels": {"ensembles.dev/ensemble": target.name},
            "ownerReferences": [reference(target)],
        },
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 8000}]},
    }


def job(target: Target, name: str = "build-x") -> Object:
    labels = {
        "app.kubernetes.io/managed-by": "ensemble-operator",
        "ensembles.dev/role": "build",
        "ensembles.dev/key": "k",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": target.namespace,
            "labels": labels,
            "ownerReferences": [reference(target)],
        },
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "upload", "image": "example.com/x:1"}],
                },
            },
        },
    }


def live(api: KubernetesApi, kind: Kind, target: Target, name: str | None = None) -> Object:
    return dict(api.get(kind, target.namespace, name or target.name))


def exists(api: KubernetesApi, kind: Kind, target: Target, name: str | None = None) -> bool:
    try:
        api.get(kind, target.namespace, name or target.name)
    except NotFoundError:
        return False
    return True
