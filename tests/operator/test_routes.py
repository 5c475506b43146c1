"""spec.gateway on a real API server, with the Gateway API's own CRDs and without. No Gateway is there."""

from __future__ import annotations

from typing import Any

import pytest

from ensemble_operator.apply.executor import Target
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.kinds import ENSEMBLE, GRPC_ROUTE, HTTP_ROUTE, ROUTES, SERVICE, Kind
from tests.conftest import CACHE
from tests.gateway import gatewayapi
from tests.operator.conftest import CreateEnsemble, StartOperator
from tests.operator.control_plane import eventually
from tests.operator.objects import Object, exists, live
from tests.operator.test_lifecycle import ALONE, World, condition, status, wait_for, world

__all__ = ["world"]

pytestmark = [pytest.mark.apiserver, pytest.mark.go]

PARENTS: list[dict[str, Any]] = [{"name": "public", "namespace": "gateways"}]
SECONDS = 60
"""Routes are listed every 10 s."""


def test_routes_are_made_healed_and_removed(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, world: World
) -> None:
    operator = start_operator(ALONE)
    operator.wait_for('"working"')
    gateway = {"parentRefs": PARENTS, "hostnames": ["models.test"]}
    target = create_ensemble(gateway=gateway)
    the_api_comes_while_it_runs(api, target)
    nothing_is_written_again_and_again(api, target)
    edited_and_deleted_ones_are_put_back(api, target)
    change(api, target, {"hostnames": None})
    eventually(lambda: not hostnames(api, target, GRPC_ROUTE), seconds=SECONDS, what="no hostnames")

    # Without spec.gateway there are none.
    change(api, target, None)
    for kind in ROUTES:
        goes(api, target, kind)
    wait_for(api, target, "Ready")
    assert exists(api, SERVICE, target)

    # Those of a deleted ensemble go with it.
    change(api, target, gateway)
    comes(api, target, HTTP_ROUTE)
    assert live(api, HTTP_ROUTE, target)["metadata"]["ownerReferences"][0]["uid"] == target.uid
    api.delete(ENSEMBLE, target.namespace, target.name, uid=target.uid)
    goes(api, target, HTTP_ROUTE)


def the_api_comes_while_it_runs(api: KubernetesApi, target: Target) -> None:
    """Without the API the ensemble says so, and serves."""
    wait_for(api, target, "Reconciling", "GatewayAPIMissing")
    wait_for(api, target, "Available")
    assert "does not serve HTTPRoute" in condition(api, target, "Ready")["message"]
    gatewayapi.install(api, CACHE)
    for kind, port in ((HTTP_ROUTE, 8000), (GRPC_ROUTE, 8001)):
        comes(api, target, kind)
        spec = live(api, kind, target)["spec"]
        assert spec["hostnames"] == ["models.test"]
        assert [parent["name"] for parent in spec["parentRefs"]] == ["public"]
        (backend,) = spec["rules"][0]["backendRefs"]
        assert (backend["name"], backend["port"]) == ("demo", port)
    wait_for(api, target, "Reconciling", "RouteNotAccepted")


def nothing_is_written_again_and_again(api: KubernetesApi, target: Target) -> None:
    before = [live(api, kind, target)["metadata"]["resourceVersion"] for kind in ROUTES]
    api.patch(ENSEMBLE, target.namespace, target.name, {"metadata": {"annotations": {"touched": "1"}}})
    eventually(lambda: status(api, target).get("observedGeneration"), what="a pass")
    assert [live(api, kind, target)["metadata"]["resourceVersion"] for kind in ROUTES] == before


def edited_and_deleted_ones_are_put_back(api: KubernetesApi, target: Target) -> None:
    api.patch(HTTP_ROUTE, target.namespace, target.name, {"spec": {"hostnames": ["stolen.test"]}})
    uid = live(api, GRPC_ROUTE, target)["metadata"]["uid"]
    api.delete(GRPC_ROUTE, target.namespace, target.name, uid=uid)
    comes(api, target, GRPC_ROUTE)
    eventually(
        lambda: hostnames(api, target, HTTP_ROUTE) == ["models.test"],
        seconds=SECONDS,
        what="the hostname is put back",
    )
    assert hostnames(api, target, GRPC_ROUTE) == ["models.test"]


def comes(api: KubernetesApi, target: Target, kind: Kind) -> None:
    eventually(lambda: exists(api, kind, target), seconds=SECONDS, what=f"the {kind.name}")


def goes(api: KubernetesApi, target: Target, kind: Kind) -> None:
    eventually(lambda: not exists(api, kind, target), seconds=SECONDS, what=f"no {kind.name}")


def change(api: KubernetesApi, target: Target, gateway: Object | None) -> None:
    api.patch(ENSEMBLE, target.namespace, target.name, {"spec": {"gateway": gateway}})


def hostnames(api: KubernetesApi, target: Target, kind: Kind) -> list[str]:
    return list(live(api, kind, target)["spec"].get("hostnames") or ())
