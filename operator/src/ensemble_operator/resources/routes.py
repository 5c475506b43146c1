"""The HTTPRoute and the GRPCRoute of an ensemble: from the user's Gateways to its servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ensemble_operator import names
from ensemble_operator.resources.owner import Owner
from ensembles_api.names import GRPC_PORT, HTTP_PORT
from ensembles_api.spec import Gateway

API_VERSION = "gateway.networking.k8s.io/v1"
KINDS = ("HTTPRoute", "GRPCRoute")


@dataclass(frozen=True)
class Shares:
    """Who gets the requests of the routes.

    Args:
        weights: hash of a rollout -> its share; none: all go to the ensemble's Service.
        since: when it became so.
        before: rollouts that the routes led to until then.
    """

    weights: Mapping[str, int]
    since: datetime | None = None
    before: tuple[str, ...] = ()

    def annotations(self) -> dict[str, str]:
        # Absent and empty mean the same, but what was written once stays until it is written over.
        return {
            names.ANNOTATION_SHARES: written(self.weights),
            names.ANNOTATION_SHARES_SINCE: self.since.isoformat() if self.since else "",
            names.ANNOTATION_SHARED_BEFORE: " ".join(self.before),
        }


def written(weights: Mapping[str, int]) -> str:
    return " ".join(f"{rollout}={weight}" for rollout, weight in sorted(weights.items()))


def routes(*, owner: Owner, gateway: Gateway, shares: Shares) -> tuple[dict[str, Any], ...]:
    """One route of each kind, both with the same shares."""
    grpc = gateway.grpc
    return (
        _route("HTTPRoute", owner, gateway.parent_refs, gateway.hostnames, shares, port=HTTP_PORT),
        _route(
            "GRPCRoute",
            owner,
            grpc.parent_refs or gateway.parent_refs,
            grpc.hostnames or gateway.hostnames,
            shares,
            port=GRPC_PORT,
        ),
    )


def _route(
    kind: str,
    owner: Owner,
    parents: Sequence[Mapping[str, Any]],
    hostnames: Sequence[str],
    shares: Shares,
    *,
    port: int,
) -> dict[str, Any]:
    services = {
        names.traffic_service(owner.name, rollout): weight
        for rollout, weight in sorted(shares.weights.items())
    }
    backends = [
        {"group": "", "kind": "Service", "name": service, "port": port, "weight": weight}
        for service, weight in (services or {owner.name: 1}).items()
    ]
    spec: dict[str, Any] = {
        "parentRefs": [dict(parent) for parent in parents],
        # Stated even where there are none: what is not stated, server-side apply leaves as it is.
        "hostnames": list(hostnames),
        "rules": [{"backendRefs": backends}],
    }
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": owner.metadata(
            owner.name, labels=owner.labels("route"), annotations=shares.annotations()
        ),
        "spec": spec,
    }
