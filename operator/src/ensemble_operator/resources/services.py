"""The ensemble's Service, which clients know, and the headless one of each rollout, which verify asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ensemble_operator import names
from ensemble_operator.resources import tritonserver
from ensemble_operator.resources.owner import Owner
from ensembles_api.names import LABEL_ENSEMBLE, LABEL_ROLE, LABEL_ROLLOUT

APP_PROTOCOLS = {"http": "http", "grpc": "kubernetes.io/h2c", "metrics": "http"}
TRAFFIC = "traffic-service"
"""Role of a Service that exists only while a route shares the requests out."""
STICKY_SECONDS = 10800
"""As Kubernetes' own default: how long a silent client is still known."""


def service(
    *, owner: Owner, selector: Mapping[str, str], annotations: Mapping[str, str], sticky: bool
) -> dict[str, Any]:
    """The Service named like the ensemble.

    The selector must hold the role `server`: pods of Jobs carry the ensemble's label, too. With `sticky`, one
    client's requests reach one pod, for models that keep state per client.
    """
    affinity = (
        {
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": STICKY_SECONDS}},
        }
        if sticky
        else {"sessionAffinity": "None"}
    )
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owner.metadata(owner.name, labels=owner.labels("service"), annotations=dict(annotations)),
        "spec": {"type": "ClusterIP", "selector": dict(selector), "ports": _ports(), **affinity},
    }


def rollout_service(*, owner: Owner, rollout: str) -> dict[str, Any]:
    """A headless Service whose addresses are the pods of one rollout, ready or not.

    verify waits for their readiness itself. Were the name absent until the first is ready, the cluster's DNS
    would go on denying it for seconds (CoreDNS caches a denial for 5 s).
    """
    selector = {LABEL_ENSEMBLE: owner.name, LABEL_ROLE: "server", LABEL_ROLLOUT: rollout}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owner.metadata(
            names.rollout(owner.name, rollout),
            labels=owner.labels("rollout-service", **{LABEL_ROLLOUT: rollout}),
        ),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector,
            "ports": _ports(),
        },
    }


def traffic_service(*, owner: Owner, rollout: str) -> dict[str, Any]:
    """A Service of one rollout's ready pods: what a route gives a share of the requests to."""
    selector = {LABEL_ENSEMBLE: owner.name, LABEL_ROLE: "server", LABEL_ROLLOUT: rollout}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owner.metadata(
            names.traffic_service(owner.name, rollout),
            labels=owner.labels(TRAFFIC, **{LABEL_ROLLOUT: rollout}),
        ),
        "spec": {"type": "ClusterIP", "selector": selector, "ports": _ports()},
    }


def _ports() -> list[dict[str, Any]]:
    # By name, so that a pod without such a port is never an endpoint of it.
    return [
        {
            "name": name,
            "port": port,
            "targetPort": name,
            "protocol": "TCP",
            "appProtocol": APP_PROTOCOLS[name],
        }
        for name, port in tritonserver.PORTS.items()
    ]
