"""What the chart gives to the Prometheus operator, judged by that one's own CRDs on a real API server."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import CACHE
from tests.gitops.judges import go

pytestmark = [pytest.mark.apiserver, pytest.mark.helm, pytest.mark.go]

MODULE = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "/apis/monitoring.coreos.com/v1"
KINDS = {
    "PodMonitor": "podmonitors",
    "ServiceMonitor": "servicemonitors",
    "PrometheusRule": "prometheusrules",
}
CHART = Path(__file__).parents[2] / "charts" / "ensemble-operator"


@pytest.fixture(scope="module")
def monitoring(api: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An API server that has the CRDs; they go again, since others judge what there is."""
    program, environment = go(CACHE)
    told = subprocess.run(
        [program, "mod", "download", "-json", MODULE],
        cwd=tmp_path_factory.mktemp("download"),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(json.loads(told.stdout)["Dir"]) / "example" / "prometheus-operator-crd"
    names = [f"monitoring.coreos.com_{plural}" for plural in KINDS.values()]
    documents = [yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in names]
    for document in documents:
        assert api.call("POST", CRDS, document).code in {201, 409}
    deadline = time.monotonic() + 60
    while any(api.call("GET", f"{GROUP}/{plural}").code != 200 for plural in KINDS.values()):
        assert time.monotonic() < deadline, "the CRDs are not served"
        time.sleep(0.5)
    yield api
    for document in documents:
        api.call("DELETE", f"{CRDS}/{document['metadata']['name']}")


def rendered(helm: str) -> dict[str, dict[str, Any]]:
    """Kind -> what the chart installs with all of it on."""
    names = ("serviceMonitor", "podMonitor", "rules")
    on = [f"--set=metrics.{name}.enabled=true" for name in names]
    runbooks = "--set=metrics.rules.runbookUrl=https://docs.example/observability"
    command = [helm, "template", "operator", str(CHART), "--kube-version=1.36.0", *on, runbooks]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {item["kind"]: item for item in yaml.load_all(text, yaml.CSafeLoader) if item}
    return {kind: found[kind] for kind in KINDS}


def test_the_monitors_and_rules_are_valid(monitoring: Any, helm: str) -> None:
    for kind, document in rendered(helm).items():
        document["metadata"]["namespace"] = monitoring.namespace
        path = f"{GROUP}/namespaces/{monitoring.namespace}/{KINDS[kind]}"
        answer = monitoring.call("POST", path, document, dryRun="All", fieldValidation="Strict")
        assert answer.code == 201, answer.message


def test_a_monitor_with_a_misspelt_field_is_not(monitoring: Any, helm: str) -> None:
    document = rendered(helm)["PodMonitor"]
    document["metadata"]["namespace"] = monitoring.namespace
    document["spec"]["podMetricsEndpoints"][0]["relabeling"] = []
    path = f"{GROUP}/namespaces/{monitoring.namespace}/podmonitors"
    answer = monitoring.call("POST", path, document, dryRun="All", fieldValidation="Strict")
    assert answer.code == 400
    assert "relabeling" in answer.message
