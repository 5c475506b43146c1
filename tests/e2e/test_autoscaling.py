"""Servers follow the load: HorizontalPodAutoscaler, controller, metrics-server and load are real."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import live, metricsserver
from tests.e2e.load import constant_load
from tests.e2e.models import affine_onnx

pytestmark = [pytest.mark.long, pytest.mark.cluster, pytest.mark.go, pytest.mark.timeout(1800)]

MOST = 3
# Idle servers need a small part of this, a few clients several times as much.
SERVING = {"resources": {"requests": {"cpu": "30m", "memory": "256Mi"}}}


@pytest.fixture(scope="module")
def metrics(cluster: None) -> Iterator[None]:
    with metricsserver.running():
        yield


def spec(**scaling: Any) -> dict[str, Any]:
    return {
        "serving": SERVING,
        "rollout": {"retainSeconds": 5, "watchSeconds": 0},
        "autoscaling": {
            "maxReplicas": MOST,
            "target": {"cpuUtilizationPercent": 60},
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0}},
            **scaling,
        },
    }


def onnx(uri: str) -> list[dict[str, Any]]:
    return [{"name": "net", "onnxruntime": {"source": {"uri": uri}}}]


def servers(ensemble: live.Ensemble) -> tuple[int, int]:
    """Ready ones, and those that the autoscaler has asked for."""
    (target,) = ensemble.status["targets"]
    return target.get("readyReplicas", 0), target.get("replicas", 0)


def test_servers_follow_the_load_and_a_rollout_begins_with_as_many(
    metrics: None, make_namespace: live.NamespaceFactory
) -> None:
    with make_namespace("autoscaling") as space:
        double = space.put("double.onnx", affine_onnx(scale=2))
        triple = space.put("triple.onnx", affine_onnx(scale=3))
        ensemble = space.apply("scaled", onnx(double), **spec())
        ensemble.wait()
        assert servers(ensemble)[1] == 1
        with constant_load(ensemble, "net") as log:
            live.eventually(
                lambda: servers(ensemble) == (MOST, MOST),
                seconds=240,
                what=lambda: space.kubectl("describe", "hpa", check=False),
            )
            (hpa,) = space.items("hpa")
            assert hpa["status"]["desiredReplicas"] == MOST
            (target,) = ensemble.status["targets"]
            assert target["desiredReplicas"] == MOST

            space.apply("scaled", onnx(triple), **spec())
            created = live.eventually(
                lambda: [
                    d for d in space.items("deployments") if d["metadata"]["name"] != target["deployment"]
                ],
                what="no new servers",
            )
            assert created[0]["spec"]["replicas"] == MOST
            ensemble.wait(seconds=240)
            assert servers(ensemble)[1] == MOST
            live.eventually(
                lambda: (
                    space.items("hpa")[0]["spec"]["scaleTargetRef"]["name"] == created[0]["metadata"]["name"]
                ),
                seconds=30,
                what="the autoscaler does not follow",
            )
            log.answers_again()
        log.check(2, 3)
        assert (log.factors[0], log.factors[-1]) == (2, 3)

        space.apply("scaled", onnx(triple), **spec(maxReplicas=1))
        live.eventually(lambda: servers(ensemble) == (1, 1), seconds=120, what="maxReplicas is not kept")
