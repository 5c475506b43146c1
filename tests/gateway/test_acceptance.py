"""What a real Gateway controller says of the routes, through a canary. Pods are ready, but answer nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.kinds import HTTP_ROUTE, SERVICE
from tests.conftest import CACHE
from tests.gateway import gatewayapi, traefik
from tests.gateway.traefik import DataPlane
from tests.operator.conftest import (
    CreateEnsemble,
    StartOperator,
    api,
    control_plane,
    create_ensemble,
    namespace,
    start_operator,
)
from tests.operator.control_plane import ControlPlane, eventually
from tests.operator.test_lifecycle import ALONE, World, condition, edit, status, wait_for, world

__all__ = ["api", "control_plane", "create_ensemble", "namespace", "start_operator", "world"]

pytestmark = [pytest.mark.apiserver, pytest.mark.go, pytest.mark.gateway]

CLASS = "ensembles-test"


@pytest.fixture
def plane(control_plane: ControlPlane, api: KubernetesApi, tmp_path: Path) -> Iterator[DataPlane]:
    program = traefik.build(CACHE)
    gatewayapi.install(api, CACHE)
    eventually(lambda: gatewayapi.is_served(api), what="the Gateway API is served")
    api._request("POST", gatewayapi.GATEWAY_CLASS.path(None), body=traefik.gateway_class(CLASS))
    with traefik.running(program, str(control_plane.kubeconfig), tmp_path / "traefik.log") as found:
        yield found


def test_routes_are_accepted_at_every_step(
    api: KubernetesApi,
    start_operator: StartOperator,
    create_ensemble: CreateEnsemble,
    world: World,
    plane: DataPlane,
) -> None:
    operator = start_operator(ALONE)
    operator.wait_for('"working"')
    rollout = {
        "strategy": "Canary",
        "canary": {"steps": [{"weight": 25, "pauseSeconds": 5}]},
        "retainSeconds": 0,
        "watchSeconds": 0,
    }
    gateway = {
        "parentRefs": [{"name": "public", "sectionName": "http"}],
        "grpc": {"parentRefs": [{"name": "public", "sectionName": "grpc"}]},
    }
    target = create_ensemble(gateway=gateway, rollout=rollout)
    wait_for(api, target, "Reconciling", "RouteNotAccepted")
    assert condition(api, target, "Available")["status"] == "True"

    api.create(gatewayapi.GATEWAY, traefik.gateway("public", target.namespace, plane, of_class=CLASS))
    wait_for(api, target, "Ready")
    first = status(api, target)["rollout"]

    edit(api, target, "s3://models/other.onnx")
    seen: list[tuple[int, ...]] = []
    end = time.monotonic() + 300
    while (
        status(api, target).get("rollout") == first or condition(api, target, "Ready").get("status") != "True"
    ):
        assert time.monotonic() < end, (seen, status(api, target))
        backends = api.get(HTTP_ROUTE, target.namespace, "demo")["spec"]["rules"][0]["backendRefs"]
        weights = tuple(sorted(backend["weight"] for backend in backends))
        if weights not in seen[-1:]:
            seen.append(weights)
        time.sleep(0.2)
    assert seen[:2] == [(1,), (25, 75)], "the Service, then both rollouts"
    (backend,) = api.get(HTTP_ROUTE, target.namespace, "demo")["spec"]["rules"][0]["backendRefs"]
    assert backend["name"] == "demo"

    def gone() -> bool:
        services = api.list(SERVICE, target.namespace).items
        return not any(item["metadata"]["name"].endswith("-t") for item in services)

    eventually(gone, seconds=60, what="the Services of the shares go")
