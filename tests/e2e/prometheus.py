"""A Prometheus on this machine that finds the operator and the servers by the chart's own monitors."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.e2e import live
from tests.ports import free_port

SCRAPE_SECONDS = 2
OK = 200
DURATION = "1s"
"""What rules wait for before they fire, here: their expressions are left as they are."""
_SNAKE = {"sourceLabels": "source_labels", "targetLabel": "target_label", "replacement": "replacement"}

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Prometheus:
    address: str

    def query(self, expression: str) -> list[Sample]:
        """The samples of an instant query.

        Raises:
            AssertionError: Prometheus refuses the expression.
        """
        found: list[Sample] = self._ask("query", query=expression)["result"]
        return found

    def alerts(self) -> list[Sample]:
        found: list[Sample] = self._ask("alerts")["alerts"]
        return found

    def targets(self) -> list[Sample]:
        found: list[Sample] = self._ask("targets", state="active")["activeTargets"]
        return found

    def _ask(self, what: str, **query: str) -> Mapping[str, Any]:
        answer = urllib3.request("GET", f"{self.address}/api/v1/{what}", fields=query, timeout=30)
        document = answer.json()
        assert document["status"] == "success", f"{query}: {document}"
        data: Mapping[str, Any] = document["data"]
        return data


@contextmanager
def running(program: Path, folder: Path, manifests: list[dict[str, Any]]) -> Iterator[Prometheus]:
    """A Prometheus that is ready.

    Args:
        program: its binary.
        folder: for its configuration, data and log.
        manifests: of the chart: its Service, ServiceMonitor, PodMonitor and PrometheusRule.
    """
    rules = [item for item in manifests if item["kind"] == "PrometheusRule"]
    (folder / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [_at_once(g) for r in rules for g in r["spec"]["groups"]]})
    )
    configuration = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [
            _scrape(item) for item in manifests if item["kind"] in {"PodMonitor", "ServiceMonitor"}
        ],
    }
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(configuration))
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [
        str(program),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        found = Prometheus(f"http://{address}")
        live.eventually(lambda: _ready(address, process, log), seconds=30, what=log.read_text)
        yield found
    finally:
        process.terminate()
        process.wait(timeout=30)


def _at_once(group: Mapping[str, Any]) -> dict[str, Any]:
    rules = [{**rule, "for": DURATION} if "for" in rule else rule for rule in group["rules"]]
    return {"name": group["name"], "rules": rules}


def _scrape(monitor: Mapping[str, Any]) -> dict[str, Any]:
    """What the Prometheus operator makes of a monitor, as far as ours go: where, which, port, labels."""
    pods = monitor["kind"] == "PodMonitor"
    spec, of = monitor["spec"], "pod" if pods else "service"
    (endpoint,) = spec["podMetricsEndpoints" if pods else "endpoints"]
    namespaces = spec.get("namespaceSelector") or {"matchNames": [monitor["metadata"]["namespace"]]}
    discovery: dict[str, Any] = {
        "role": "pod" if pods else "endpointslice",
        "kubeconfig_file": live.environment()["KUBECONFIG"],
    }
    if not namespaces.get("any"):
        discovery["namespaces"] = {"names": namespaces["matchNames"]}
    port = (
        "__meta_kubernetes_pod_container_port_name" if pods else "__meta_kubernetes_endpointslice_port_name"
    )
    kept = [
        _keep(f"__meta_kubernetes_{of}_label_{_meta(name)}", value)
        for name, value in spec["selector"]["matchLabels"].items()
    ]
    return {
        "job_name": f"{monitor['metadata']['namespace']}/{monitor['metadata']['name']}",
        "scrape_interval": f"{SCRAPE_SECONDS}s",
        "kubernetes_sd_configs": [discovery],
        "relabel_configs": [
            *kept,
            _keep(port, endpoint["port"]),
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
            *(
                {_SNAKE[key]: value for key, value in each.items()}
                for each in endpoint.get("relabelings", [])
            ),
        ],
    }


def _keep(label: str, value: str) -> dict[str, Any]:
    return {"action": "keep", "source_labels": [label], "regex": value}


def _meta(label: str) -> str:
    """A Kubernetes label's name as Prometheus writes it."""
    return "".join(character if character.isalnum() else "_" for character in label)


def _ready(address: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return urllib3.request("GET", f"http://{address}/-/ready", timeout=5, retries=False).status == OK
    except urllib3.exceptions.HTTPError:
        return False
