"""What the chart promises, whatever its golden files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ensemble_operator.cluster.kinds import (
    CHILDREN,
    ENSEMBLE,
    EVENT,
    LEASE,
    OPTIONAL,
    WORKLOADS,
)
from ensemble_operator.config import load_config
from ensemble_operator.leader import LEASE_NAME
from ensemble_operator.main import DEFAULT_CONFIG, _parser
from ensemble_operator.names import COUNTING_CONTAINER
from ensembles_api.generate import crd
from ensembles_api.names import GRPC_PORT, HTTP_PORT, LABEL_MANAGED_BY, LABEL_ROLE, MANAGED_BY, METRICS_PORT

pytestmark = pytest.mark.helm

CHART = Path(__file__).parents[3] / "charts" / "ensemble-operator"


def test_lint(chart: Any) -> None:
    chart.lint()


def config_of(chart: Any, folder: Path, values: dict[str, Any] | None = None) -> Any:
    """The chart's configuration as the operator reads it."""
    file = folder / "config.yaml"
    file.write_text(chart.only("ConfigMap", values)["data"]["config.yaml"], encoding="utf-8")
    return load_config(file)


def test_the_operator_reads_the_configuration(chart: Any, tmp_path: Path) -> None:
    config = config_of(chart, tmp_path)
    assert config.default_release in config.releases
    assert set(config.releases) == {"25.12", "26.04", "26.05", "26.08"}
    for name, release in config.releases.items():
        assert release.server_image == f"nvcr.io/nvidia/tritonserver:{name}-py3"
        assert release.builder_image.endswith(f":{app_version()}-{name}")
        assert release.versions.triton
        assert release.versions.tensorrt
        assert release.versions.dali
    assert config.tools_image.endswith(f":{app_version()}")
    assert config.watch_namespaces == []


def test_every_setting_reaches_the_operator(chart: Any, tmp_path: Path) -> None:
    settings = {
        "imagePullPolicy": "Always",
        "parallelBuilds": 7,
        "clusterDomain": "example",
        "watchNamespaces": ["a"],
        "nodeReader": True,
        "releases": {"x": {"serverImage": "s", "builderImage": "b"}},
        "defaultRelease": "x",
    }
    config = config_of(chart, tmp_path, settings).to_json()
    assert {key: config[key] for key in settings if key != "releases"} | {
        "releases": settings["releases"]
    } == settings
    assert config["releases"]["x"] == {"serverImage": "s", "builderImage": "b", "versions": {}}


def test_a_change_of_the_configuration_restarts_the_operator(chart: Any) -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = chart.only("Deployment", values)["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) == checksum({"logLevel": "debug"})
    assert checksum({}) != checksum({"parallelBuilds": 5})


def test_the_operator_understands_its_arguments(chart: Any) -> None:
    container = chart.only("Deployment")["spec"]["template"]["spec"]["containers"][0]
    options = _parser().parse_args(container["args"])
    assert options.config == DEFAULT_CONFIG
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"health": options.health_port, "metrics": options.metrics_port}
    assert options.leader_election


def test_the_pod_is_restricted(chart: Any) -> None:
    pod = chart.only("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def granted(rules: list[dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    grants: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                grants.setdefault((group, resource), set()).update(rule["verbs"])
    return grants


def main_rules(chart: Any) -> dict[tuple[str, str], set[str]]:
    return granted(chart.only("ClusterRole", ending=":operator-ensemble-operator")["rules"])


def test_the_operator_may_watch_what_it_watches(chart: Any) -> None:
    grants = main_rules(chart)
    for kind in (ENSEMBLE, *CHILDREN):
        assert {"get", "list", "watch"} <= grants[kind.group, kind.plural], kind
    for kind in OPTIONAL:
        assert {"get", "list", "create", "patch", "delete"} == grants[kind.group, kind.plural], kind


def test_the_operator_may_do_nothing_else(chart: Any) -> None:
    grants = main_rules(chart)
    kinds = (ENSEMBLE, EVENT, *CHILDREN, *OPTIONAL, *WORKLOADS)
    known = {(kind.group, kind.plural) for kind in kinds}
    subresources = {
        (ENSEMBLE.group, "inferenceensembles/status"),
        (ENSEMBLE.group, "inferenceensembles/finalizers"),
        ("apps", "deployments/scale"),
    }
    assert set(grants) == known | subresources
    assert grants[WORKLOADS[0].group, WORKLOADS[0].plural] == {"list"}
    assert not {"*", "deletecollection", "escalate", "bind", "impersonate"} & set().union(*grants.values())


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["a"]}, {"nodeReader": True}])
def test_no_secrets(chart: Any, values: dict[str, Any]) -> None:
    for item in chart.objects(values):
        if item["kind"] in {"Role", "ClusterRole"}:
            assert not [key for key in granted(item["rules"]) if "secrets" in key[1] or "*" in key], item


def test_the_lease_is_the_operators(chart: Any) -> None:
    rules = chart.only("Role", ending="-leader")["rules"]
    assert {rule["apiGroups"][0] for rule in rules} == {LEASE.group}
    assert {name for rule in rules for name in rule.get("resourceNames", [])} == {LEASE_NAME}


def test_namespaces_get_roles_and_the_cluster_none(chart: Any) -> None:
    objects = chart.objects({"watchNamespaces": ["a", "b"], "rbac": {"aggregate": False}})
    kinds = [item["kind"] for item in objects]
    assert "ClusterRole" not in kinds
    assert "ClusterRoleBinding" not in kinds
    roles = {item["metadata"]["namespace"]: item for item in objects if item["kind"] == "Role"}
    assert set(roles) == {"a", "b", "ensembles"}
    assert granted(roles["a"]["rules"]) == main_rules(chart)
    bindings = [item for item in objects if item["kind"] == "RoleBinding"]
    assert {subject["namespace"] for binding in bindings for subject in binding["subjects"]} == {"ensembles"}


def test_the_crd_is_ours_and_stays(chart: Any) -> None:
    definition = chart.only("CustomResourceDefinition")
    assert definition["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert definition["spec"] == crd.definition()["spec"]
    kinds = {item["kind"] for item in chart.objects({"crd": {"install": False}})}
    assert "CustomResourceDefinition" not in kinds


def test_a_network_policy_takes_in_every_job(chart: Any) -> None:
    assert "NetworkPolicy" not in {item["kind"] for item in chart.objects()}
    enabled = {"enabled": True, "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.9/32"}}]}]}
    values = {"watchNamespaces": ["a", "b"], "networkPolicy": enabled}
    policies = [item for item in chart.objects(values) if item["kind"] == "NetworkPolicy"]
    assert [policy["metadata"]["namespace"] for policy in policies] == ["a", "b"]
    spec = policies[0]["spec"]
    (roles,) = spec["podSelector"]["matchExpressions"]
    assert (roles["key"], set(roles["values"])) == (LABEL_ROLE, set(COUNTING_CONTAINER))
    assert spec["podSelector"]["matchLabels"] == {LABEL_MANAGED_BY: MANAGED_BY}
    assert "ingress" not in spec
    assert spec["egress"][-1:] == enabled["egress"]
    servers = spec["egress"][1]
    assert servers["to"][0]["podSelector"]["matchLabels"][LABEL_ROLE] == "server"
    assert {port["port"] for port in servers["ports"]} == {HTTP_PORT, GRPC_PORT, METRICS_PORT}


def test_a_budget_only_for_several(chart: Any) -> None:
    assert "PodDisruptionBudget" not in {item["kind"] for item in chart.objects()}
    assert chart.only("PodDisruptionBudget", {"replicas": 2})["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"imagee": {}}, "imagee"),
        ({"logLevel": "loud"}, "logLevel"),
        ({"watchNamespaces": "team-a"}, "watchNamespaces"),
        ({"parallelBuilds": 0}, "parallelBuilds"),
        ({"releases": {"26.05": {"image": "x"}}}, "releases"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"defaultRelease": "27.01"}, 'defaultRelease: "27.01" is not a row of releases'),
        ({"releases": {"26.05": None}}, 'defaultRelease: "26.05" is not a row of releases'),
        ({"networkPolicy": {"enabled": True, "egress": [{}]}}, "networkPolicy.namespaces: list"),
        ({"networkPolicy": {"enabled": True}, "watchNamespaces": ["a"]}, "networkPolicy.egress: say where"),
        ({"networkPolicy": {"enabled": True, "egress": [{"from": []}]}}, "from"),
        (
            {"metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}},
            "needs metrics.service.enabled",
        ),
    ],
)
def test_wrong_values_are_refused(chart: Any, values: dict[str, Any], message: str) -> None:
    assert message in chart.refusal(values)


def test_every_value_is_in_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert set(values) == set(schema["properties"]) - {"global"}


def app_version() -> str:
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"])
