"""What the chart renders is what was reviewed.

`UPDATE_GOLDEN=1 pytest tests/unit/chart` writes the files anew; read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.helm

GOLDEN = Path(__file__).parent / "golden"
NO_CRD = {"crd": {"install": False}}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "namespaced": {
        "watchNamespaces": ["team-a", "team-b"],
        "rbac": {"aggregate": False},
        "metrics": {"service": {"enabled": False}},
        "serviceAccount": {"create": False, "name": "given"},
    },
    "everything": {
        "image": {"digest": f"sha256:{'ab' * 32}"},
        "toolsImage": {"repository": "registry.example/tools", "tag": "dev"},
        "builderImage": {"repository": "registry.example/builder", "tag": "dev"},
        "imagePullPolicy": "Never",
        "imagePullSecrets": [{"name": "registry"}],
        "releases": {
            "25.12": None,
            "26.04": None,
            "26.08": None,
            "test": {
                "serverImage": "triton:dev",
                "builderImage": "builder:dev",
                "versions": {"dali": "2.4.0"},
            },
        },
        "defaultRelease": "test",
        "nodeReader": True,
        "replicas": 2,
        "logLevel": "debug",
        "serviceAccount": {"annotations": {"note": "a"}},
        "metrics": {
            "service": {"annotations": {"note": "b"}},
            "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
            "podMonitor": {"enabled": True, "interval": "10s", "labels": {"release": "prometheus"}},
        },
        "admissionPolicy": {"enabled": True},
        "networkPolicy": {
            "enabled": True,
            "namespaces": ["team-a"],
            "egress": [
                {"to": [{"ipBlock": {"cidr": "10.0.12.0/24"}}], "ports": [{"protocol": "TCP", "port": 443}]}
            ],
        },
        "podLabels": {"team": "platform"},
        "podAnnotations": {"note": "c"},
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "priorityClassName": "system-cluster-critical",
    },
}


@pytest.mark.parametrize("case", CASES)
def test_golden(chart: Any, case: str) -> None:
    rendered = chart.text({**CASES[case], **NO_CRD})
    file = GOLDEN / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(rendered, encoding="utf-8")
    assert rendered == file.read_text(encoding="utf-8"), f"{file.name} differs; see UPDATE_GOLDEN"
