"""spec.gateway on a real API server, with the Gateway API's own CRDs and without. No Gateway is there."""

from __future__ import annotations

from typing import Any

import pytest

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import NotFoundError
from ensemble_operator.cluster.kinds import ENSEMBLE, GRPC_ROUTE, HTTP_ROUTE, SERVICE
from tests.conftest import CACHE
from tests.gateway import gatewayapi
from tests.operator.conftest import CreateEnsemble, StartOperator
from tests.operator.control_plane import eventually
from tests.operator.test_lifecycle import ALONE, World, condition, status, wait_for, world

__all__ = ["world"]

pytestmark = [pytest.mark.apiserver, pytest.mark.go]

PARENTS: list[dict[str, Any]] = [{"name": "public", "namespace": "gateways"}]
ROUTES = (HTTP_ROUTE, GRPC_ROUTE)
SECONDS = 60
"""Routes are listed every 10 s."""


def exists(api: KubernetesApi, kind: Any, namespace: str, name: str = "demo") -> bool:
    try:
        api.get(kind, namespace, name)
    except NotFoundError:
        return False
    return True


def test_routes_are_made_healed_and_removed(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, world: World
) -> None:
    operator = start_operator(ALONE)
    operator.wait_for('"working"')
    gateway = {"parentRefs": PARENTS, "hostnames": ["models.test"]}
    target = create_ensemble(gateway=gateway)
    namespace = target.namespace

    # Without the API: it says so, and serves.
    wait_for(api, target, "Reconciling", "GatewayAPIMissing")
    wait_for(api, target, "Available")
    assert "does not serve HTTPRoute" in condition(api, target, "Ready")["message"]

    # The API comes while the operator runs.
    gatewayapi.install(api, CACHE)
    eventually(lambda: exists(api, HTTP_ROUTE, namespace), seconds=SECONDS, what="the HTTPRoute")
    eventually(lambda: exists(api, GRPC_ROUTE, namespace), seconds=SECONDS, what="the GRPCRoute")
    wait_for(api, target, "Reconciling", "RouteNotAccepted")
    for kind, port in ((HTTP_ROUTE, 8000), (GRPC_ROUTE, 8001)):
        spec = api.get(kind, namespace, "demo")["spec"]
        assert spec["hostnames"] == ["models.test"]
        assert [parent["name"] for parent in spec["parentRefs"]] == ["public"]
        (backend,) = spec["rules"][0]["backendRefs"]
        assert (backend["name"], backend["port"]) == ("demo", port)

    # What is there is what was meant: nothing is written again and again.
    versions = {kind: api.get(kind, namespace, "demo")["metadata"]["resourceVersion"] for kind in ROUTES}
    api.patch(ENSEMBLE, namespace, "demo", {"metadata": {"annotations": {"touched": "1"}}})
    eventually(lambda: status(api, target).get("observedGeneration"), what="a pass")

    # Edited and deleted ones are put back.
    api.patch(HTTP_ROUTE, namespace, "demo", {"spec": {"hostnames": ["stolen.test"]}})
    grpc = api.get(GRPC_ROUTE, namespace, "demo")
    assert grpc["metadata"]["resourceVersion"] == versions[GRPC_ROUTE]
    api.delete(GRPC_ROUTE, namespace, "demo", uid=grpc["metadata"]["uid"])
    eventually(
        lambda: api.get(HTTP_ROUTE, namespace, "demo")["spec"]["hostnames"] == ["models.test"],
        seconds=SECONDS,
        what="the hostname is put back",
    )
    eventually(lambda: exists(api, GRPC_ROUTE, namespace), seconds=SECONDS, what="the GRPCRoute again")

    # Hostnames that a route was made with go, too.
    assert api.get(GRPC_ROUTE, namespace, "demo")["spec"]["hostnames"] == ["models.test"]
    api.patch(ENSEMBLE, namespace, "demo", {"spec": {"gateway": {"hostnames": None}}})
    eventually(
        lambda: not api.get(GRPC_ROUTE, namespace, "demo")["spec"].get("hostnames"),
        seconds=SECONDS,
        what="no hostnames",
    )

    # Without spec.gateway there are none.
    api.patch(ENSEMBLE, namespace, "demo", {"spec": {"gateway": None}})
    eventually(lambda: not exists(api, HTTP_ROUTE, namespace), seconds=SECONDS, what="no HTTPRoute")
    eventually(lambda: not exists(api, GRPC_ROUTE, namespace), seconds=SECONDS, what="no GRPCRoute")
    wait_for(api, target, "Ready")
    assert exists(api, SERVICE, namespace)

    # Those of a deleted ensemble go with it.
    api.patch(ENSEMBLE, namespace, "demo", {"spec": {"gateway": gateway}})
    eventually(lambda: exists(api, HTTP_ROUTE, namespace), seconds=SECONDS, what="the HTTPRoute")
    owner = api.get(HTTP_ROUTE, namespace, "demo")["metadata"]["ownerReferences"][0]
    assert owner["uid"] == target.uid
    api.delete(ENSEMBLE, namespace, "demo", uid=target.uid)
    eventually(lambda: not exists(api, HTTP_ROUTE, namespace), seconds=SECONDS, what="no HTTPRoute")
