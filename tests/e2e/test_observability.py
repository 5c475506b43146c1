"""A Prometheus reads the operator and servers: every expression of the chart answers, alerts fire."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from localcluster import build

from ensemble_operator.resources import queries
from tests.e2e import live, prometheus
from tests.e2e.load import constant_load
from tests.e2e.models import affine_onnx

pytestmark = [pytest.mark.long, pytest.mark.cluster, pytest.mark.go, pytest.mark.timeout(1200)]

CHART = live.ROOT / "charts" / "ensemble-operator"
METRICS = {name: {"enabled": True} for name in ("serviceMonitor", "podMonitor", "rules", "dashboard")}
COMPARED = re.compile(r"\s*(?:==|[<>]=?)\s*[\d.]+")
TROUBLES = re.compile(r'\b(reason|code)=~?"[^"]+"')
ONLY_WITH_A_GPU = "nv_gpu_"
"""Metrics that a server without a GPU does not have: such expressions are only seen to be valid."""


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the chart installs, monitors and alerts included."""
    values = tmp_path_factory.mktemp("values") / "values.yaml"
    values.write_text(json.dumps({"metrics": METRICS, "crd": {"install": False}}))
    chart = ("--values", str(live.ROOT / "tests/e2e/values.yaml"), "--values", str(values))
    name = ("ensemble-operator", str(CHART), "--namespace", "ensemble-operator")
    return [item for item in yaml.safe_load_all(live.run("helm", "template", *name, *chart)) if item]


@pytest.fixture(scope="module")
def watching(
    operator: None, manifests: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[prometheus.Prometheus]:
    build.build(live.CACHE, only=["prometheus"])
    program = live.CACHE / "bin" / "prometheus"
    with prometheus.running(program, tmp_path_factory.mktemp("prometheus"), manifests) as found:
        yield found


def expressions(manifests: list[dict[str, Any]]) -> dict[str, str]:
    """Where it stands -> an expression: of alerts without bounds and troubles that are not met here."""
    found: dict[str, str] = {}
    for item in manifests:
        if item["kind"] == "PrometheusRule":
            for rule in (rule for group in item["spec"]["groups"] for rule in group["rules"]):
                calm = TROUBLES.sub(r'\1=~".+"', COMPARED.sub("", rule["expr"]))
                found[rule["alert"]] = calm.replace("absent(", "(")
        elif item["kind"] == "ConfigMap" and "ensembles.json" in item["data"]:
            for panel in json.loads(item["data"]["ensembles.json"])["panels"]:
                for target in panel.get("targets", ()):
                    found[f"{panel['title']} {target['refId']}"] = _chosen(target["expr"])
    return found


def _of_autoscalers(ensemble: live.Ensemble) -> dict[str, str]:
    """What a HorizontalPodAutoscaler or KEDA would ask about the servers of an ensemble."""
    (target,) = ensemble.status["targets"]
    servers = queries.servers_of(
        namespace=ensemble.namespace.name,
        ensemble=ensemble.name,
        rollout=ensemble.status["rollout"],
        target=target["name"],
    )
    return {
        "queue of a request": queries.queue_microseconds(servers, entrypoint="net"),
        "pending requests": queries.pending_requests(servers),
    }


def _chosen(expression: str) -> str:
    """With what Grafana puts in the place of its variables where all is chosen."""
    text = expression.replace("$__rate_interval", "30s")
    return COMPARED.sub("", text.replace("$namespace", ".*").replace("$ensemble", ".*"))


def onnx(space: live.Namespace, scale: float) -> list[dict[str, Any]]:
    uri = space.put(f"times-{scale}.onnx", affine_onnx(scale=scale))
    return [
        {"name": "net", "onnxruntime": {"source": {"uri": uri}}, "maxBatchSize": 8},
        {"name": "all", "ensemble": {"chain": ["net"]}},
    ]


def test_every_expression_answers_and_a_stalled_ensemble_is_told(
    watching: prometheus.Prometheus, manifests: list[dict[str, Any]], namespace: live.Namespace
) -> None:
    served = namespace.apply("served", onnx(namespace, 2))
    served.wait()
    wrong = namespace.apply("wrong", onnx(namespace, 3), runtime={"release": "no-such-row"})
    wrong.wait("Stalled", "UnknownRelease")
    mine = f'{{namespace="{namespace.name}"}}'
    with constant_load(served, "net") as log:
        _everything_is_scraped(watching, mine)
        _fires(watching, namespace.name)
        namespace.apply("served", onnx(namespace, 4))
        live.eventually(lambda: 4.0 in log.factors[-3:], what=served.describe)
        served.wait()
        silent = _silent(watching, {**expressions(manifests), **_of_autoscalers(served)})
    log.check(2.0, 4.0)
    assert not silent, "these return nothing:\n" + "\n".join(silent)
    _figures_are_right(watching, namespace.name)

    wrong.delete()
    live.eventually(
        lambda: not _firing(watching, namespace.name, "EnsembleStalled"), what="the alert outlives its cause"
    )


def _everything_is_scraped(watching: prometheus.Prometheus, mine: str) -> None:
    def seen() -> bool:
        up = watching.query("up")
        servers = watching.query(f'up{mine[:-1]}, job="ensemble-servers"}}')
        operator = [sample for sample in up if "operator" in sample["metric"]["job"]]
        return all(sample["value"][1] == "1" for sample in (*servers, *operator)) and bool(
            servers and operator
        )

    live.eventually(seen, what=lambda: json.dumps(watching.targets(), indent=1))
    (server,) = watching.query(f'up{mine[:-1]}, job="ensemble-servers"}}')
    assert {"ensemble", "target", "rollout", "pod"} <= server["metric"].keys()
    assert server["metric"]["ensemble"] == "served"


def _firing(watching: prometheus.Prometheus, namespace: str, name: str) -> list[prometheus.Sample]:
    return [
        alert
        for alert in watching.alerts()
        if alert["state"] == "firing"
        and (alert["labels"]["alertname"], alert["labels"].get("namespace")) == (name, namespace)
    ]


def _fires(watching: prometheus.Prometheus, namespace: str) -> None:
    (alert,) = live.eventually(
        lambda: _firing(watching, namespace, "EnsembleStalled"), what=lambda: json.dumps(watching.alerts())
    )
    assert alert["labels"]["ensemble"] == "wrong"
    assert alert["labels"]["reason"] == "UnknownRelease"
    assert alert["annotations"]["summary"] == f"Ensemble {namespace}/wrong is stalled: UnknownRelease."
    calm = ("EnsembleOperatorDown", "EnsembleOperatorCrashes", "EnsembleUnavailable", "EnsembleRequestsFail")
    names = {alert["labels"]["alertname"] for alert in watching.alerts() if alert["state"] == "firing"}
    assert not names & set(calm)


def _silent(watching: prometheus.Prometheus, asked: dict[str, str]) -> list[str]:
    """The expressions that return no series; some need two scrapes after what they are about."""
    left = dict(asked)

    def all_answer() -> bool:
        for where in [where for where, text in left.items() if watching.query(text)]:
            del left[where]
        return all(ONLY_WITH_A_GPU in text for text in left.values())

    try:
        live.eventually(all_answer, seconds=60, every=2)
    except AssertionError:
        return [f"{where}: {text}" for where, text in left.items() if ONLY_WITH_A_GPU not in text]
    return []


def _figures_are_right(watching: prometheus.Prometheus, namespace: str) -> None:
    """What the operator tells is what was done here; other tests may share the operator."""
    reason = watching.query(
        f'ensemble_operator_ensemble_reason{{ensemble_namespace="{namespace}", ensemble="wrong"}}'
    )
    assert [sample["metric"]["reason"] for sample in reason] == ["UnknownRelease"]
    (promoted,) = watching.query('sum(ensemble_operator_rollouts_total{outcome="Promoted"})')
    assert float(promoted["value"][1]) >= 2
    (ready,) = watching.query("sum(ensemble_operator_ready_seconds_count)")
    assert float(ready["value"][1]) >= 2
    (published,) = watching.query(
        'sum(ensemble_operator_job_seconds_count{role="publish", result="succeeded"})'
    )
    assert float(published["value"][1]) >= 2
    mine = f'namespace="{namespace}", model="net"'
    answered = watching.query(f"sum by (rollout) (nv_inference_request_success{{{mine}}})")
    assert answered, "the servers count no requests"
