"""Monitors, alerts and dashboard: what can be said of them without a Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ensemble_operator.metrics.collectors import EnsembleCollector, QueueCollector, QueueFigures
from ensemble_operator.metrics.families import Metrics
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.resources import queries
from ensemble_operator.resources.owner import Owner
from ensembles_api.reasons import Reason

ROOT = Path(__file__).parents[3]
FILES = ROOT / "charts" / "ensemble-operator" / "files"
DOCS = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
TRITON = frozenset((ROOT / "tests/observability/triton_metrics.txt").read_text(encoding="utf-8").split())
GRID = 24
RULES = {"metrics": {"rules": {"enabled": True}}}


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FILES / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (alert["expr"] for alert in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    yield from (v["definition"] for v in dashboard()["templating"]["list"] if v["type"] == "query")


def of_the_operator() -> set[str]:
    metrics = Metrics()
    metrics.registry.register(EnsembleCollector(ObjectCache()))
    metrics.registry.register(QueueCollector(lambda: QueueFigures(depth=0, adds=0, retries=0)))
    names: set[str] = set()
    for family in metrics.registry.collect():
        if family.type == "histogram":
            names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


def test_every_metric_asked_for_exists() -> None:
    asked = {name for text in expressions() for name in re.findall(r"\b(?:ensemble_operator|nv)_\w+", text)}
    assert asked <= of_the_operator() | TRITON
    assert len(asked) > 30


def test_every_reason_asked_for_exists() -> None:
    asked = {
        reason
        for text in expressions()
        for found in re.findall(r'reason=~?"([^"]+)"', text)
        for reason in found.split("|")
    }
    assert asked
    assert asked <= {reason.value for reason in Reason}


def test_every_alert_is_explained_and_says_where() -> None:
    sections = re.findall(r"^### (\w+)$", DOCS, re.MULTILINE)
    assert sections == [alert["alert"] for alert in alerts()]
    for alert in alerts():
        assert alert["annotations"]["runbook"] == f"docs/observability.md#{alert['alert'].lower()}"
        assert alert["annotations"]["summary"].endswith(".")
        assert alert["labels"]["severity"] in {"critical", "warning"}


def test_panels_lie_on_the_grid_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= GRID
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_every_panel_asks_the_chosen_datasource() -> None:
    for panel in panels():
        for target in (panel, *panel["targets"]):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.helm
def test_nothing_of_it_is_installed_by_default(chart: Any) -> None:
    kinds = {item["kind"] for item in chart.objects()}
    assert not kinds & {"PrometheusRule", "PodMonitor", "ServiceMonitor"}
    assert [item["metadata"]["name"] for item in chart.objects() if item["kind"] == "ConfigMap"] == [
        "operator-ensemble-operator"
    ]


@pytest.mark.helm
def test_the_rules_are_those_of_the_file(chart: Any) -> None:
    rule = chart.only("PrometheusRule", RULES)
    assert [alert for group in rule["spec"]["groups"] for alert in group["rules"]] == alerts()


@pytest.mark.helm
def test_alerts_link_to_the_published_page_and_can_be_left_out(chart: Any) -> None:
    settings = {
        "enabled": True,
        "runbookUrl": "https://docs.example/observability/",
        "disabled": ["EnsembleQueuesLong"],
    }
    rule = chart.only("PrometheusRule", {"metrics": {"rules": settings}})
    found = [alert for group in rule["spec"]["groups"] for alert in group["rules"]]
    assert len(found) == len(alerts()) - 1
    assert {alert["annotations"]["runbook_url"] for alert in found} == {
        f"https://docs.example/observability#{alert['alert'].lower()}" for alert in found
    }
    assert "disabled" in chart.refusal({"metrics": {"rules": {**settings, "disabled": ["nothing of ours"]}}})


@pytest.mark.helm
def test_the_dashboard_is_that_of_the_file(chart: Any) -> None:
    settings = {"metrics": {"dashboard": {"enabled": True, "labels": {"grafana_dashboard": "yes"}}}}
    found = chart.only("ConfigMap", settings, ending="-dashboard")
    assert json.loads(found["data"]["ensembles.json"]) == dashboard()
    assert found["metadata"]["labels"]["grafana_dashboard"] == "yes"


@pytest.mark.helm
def test_the_monitor_sets_the_labels_that_autoscalers_ask_for(chart: Any) -> None:
    (endpoint,) = chart.only("PodMonitor", {"metrics": {"podMonitor": {"enabled": True}}})["spec"][
        "podMetricsEndpoints"
    ]
    labels = {each["targetLabel"]: each.get("sourceLabels") for each in endpoint["relabelings"]}
    for label in queries.LABELS:
        if label != queries.LABEL_NAMESPACE:  # every PodMonitor sets it
            assert labels[label] == [f"__meta_kubernetes_pod_label_ensembles_dev_{label}"]


@pytest.mark.helm
def test_the_monitor_selects_the_servers_where_the_operator_works(chart: Any) -> None:
    monitored = {"metrics": {"podMonitor": {"enabled": True}}}
    everywhere = chart.only("PodMonitor", monitored)["spec"]
    assert everywhere["namespaceSelector"] == {"any": True}
    labels = Owner(namespace="n", name="e", uid="u").labels("server")
    assert everywhere["selector"]["matchLabels"].items() <= labels.items()
    listed = chart.only("PodMonitor", {**monitored, "watchNamespaces": ["a", "b"]})["spec"]
    assert listed["namespaceSelector"] == {"matchNames": ["a", "b"]}
