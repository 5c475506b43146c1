"""Autoscalers: what is scaled, by what, and the expressions that Prometheus is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ensemble_operator.resources import queries
from ensemble_operator.resources.autoscalers import autoscaler
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.quantities import canonical
from ensembles_api.contract import ServerRequirements
from ensembles_api.spec import Autoscaling
from tests.unit.resources.test_objects import DATA

OWNER = Owner("demo", "net", "uid")
ALL = {"cpuUtilizationPercent": 70, "queueMicroseconds": 5000, "pendingRequests": 4}
SERVED = DATA.model_copy(update={"server": ServerRequirements(entrypoint="whole")})
LABELS = {
    "ensemble": "net",
    "rollout": "abcd1234",
    "target": SERVED.targets[0].name,
}


def made(**settings: Any) -> dict[str, Any]:
    scaling = Autoscaling.model_validate({"maxReplicas": 8, "target": ALL, **settings})
    return autoscaler(owner=OWNER, data=SERVED, rollout="abcd1234", target=SERVED.targets[0], scaling=scaling)


def test_a_horizontal_pod_autoscaler_scales_by_cpu_and_external_metrics() -> None:
    spec = made(minReplicas=2)["spec"]
    assert spec["scaleTargetRef"]["name"].startswith("net-abcd1234-")
    assert (spec["minReplicas"], spec["maxReplicas"], "behavior" in spec) == (2, 8, False)
    cpu, queue, pending = spec["metrics"]
    assert cpu["containerResource"] == {
        "name": "cpu",
        "container": "tritonserver",
        "target": {"type": "Utilization", "averageUtilization": 70},
    }
    assert queue["external"] == {
        "metric": {
            "name": "triton_queue_microseconds",
            "selector": {"matchLabels": {**LABELS, "model": "whole"}},
        },
        "target": {"type": "Value", "value": "5k"},
    }
    assert pending["external"] == {
        "metric": {"name": "triton_pending_requests", "selector": {"matchLabels": LABELS}},
        "target": {"type": "AverageValue", "averageValue": "4"},
    }


def test_keda_asks_prometheus_and_takes_a_mean_as_it_is() -> None:
    keda = {"serverAddress": "http://prometheus:9090", "authenticationName": "token", "authModes": "bearer"}
    cpu, queue, pending = made(keda=keda)["spec"]["triggers"]
    assert cpu["metadata"] == {"value": "70", "containerName": "tritonserver"}
    assert (queue["metricType"], queue["metadata"]["threshold"]) == ("Value", "5000")
    assert (pending["metricType"], pending["metadata"]["threshold"]) == ("AverageValue", "4")
    for trigger in (queue, pending):
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert trigger["authenticationRef"] == {"name": "token"}
        assert trigger["metadata"]["authModes"] == "bearer"


def test_behavior_passes_through() -> None:
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 600}}
    assert made(behavior=behavior)["spec"]["behavior"] == behavior
    scaled = made(behavior=behavior, keda={"serverAddress": "http://prometheus:9090"})["spec"]
    assert scaled["advanced"] == {"horizontalPodAutoscalerConfig": {"behavior": behavior}}


def test_queue_time_is_that_of_all_models_for_each_request_to_the_entrypoint() -> None:
    servers = queries.servers_of(namespace="demo", ensemble="net", rollout="abcd1234", target="l4")
    queued, _, rest = queries.queue_microseconds(servers, entrypoint="whole").partition(" / ")
    assert queued == (
        'sum(rate(nv_inference_queue_duration_us{namespace="demo",ensemble="net",'
        'rollout="abcd1234",target="l4"}[1m]))'
    )
    assert rest.startswith("(sum(rate(nv_inference_request_success{")
    assert 'model="whole"' in rest
    assert rest.endswith(f"or 0 * {queued}")


def test_the_page_has_the_rules_for_prometheus_adapter() -> None:
    page = (Path(__file__).parents[3] / "docs/autoscaling.md").read_text(encoding="utf-8")
    block = page.split("```yaml\n# prometheus-adapter\n")[1].split("```")[0]
    assert yaml.safe_load(block) == {"rules": {"external": queries.adapter_rules()}}


def test_names_cannot_leave_their_quotes() -> None:
    assert queries.Servers({"a": 'b"}\\'}).matchers() == 'a="b\\"}\\\\"'


@pytest.mark.parametrize(("number", "text"), [(4, "4"), (1500, "1500"), (5000, "5k"), (2_000_000, "2M")])
def test_quantities_are_written_as_the_api_server_writes_them(number: int, text: str) -> None:
    assert canonical(number) == text
