"""The example folders render to what the API server would take."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ensembles_api.validation import validate
from tests.conftest import CACHE
from tests.gitops.judges import EXAMPLES, ROOT, Judges

CHART = EXAMPLES / "helm" / "ensemble"


def rendered(*command: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The ensemble that a program prints, and what else it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    documents = list(yaml.safe_load_all(done.stdout))
    (ensemble,) = [found for found in documents if found["kind"] == "InferenceEnsemble"]
    assert validate(ensemble) == []
    return ensemble, [found for found in documents if found is not ensemble]


def kinds(document: dict[str, Any]) -> list[str]:
    """The kind of each model."""
    known = {"dali", "onnxruntime", "tensorrt", "ensemble"}
    return [next(iter(known & set(model))) for model in document["spec"]["models"]]


@pytest.fixture(scope="module")
def kubectl() -> str:
    found = shutil.which("kubectl") or str(CACHE / "bin" / "kubectl")
    if not Path(found).exists():
        pytest.fail("kubectl is missing: put it on PATH, or run `make cluster`", pytrace=False)
    return found


def test_plain_yaml() -> None:
    assert validate(yaml.safe_load((EXAMPLES / "plain" / "ensemble.yaml").read_text())) == []


@pytest.mark.helm
@pytest.mark.parametrize(
    ("overlay", "namespace", "models"),
    [
        ("dev", "vision-dev", ["dali", "onnxruntime", "ensemble"]),
        ("prod", "vision", ["dali", "tensorrt", "ensemble"]),
    ],
)
def test_kustomize(overlay: str, namespace: str, models: list[str], kubectl: str) -> None:
    document, (config_map,) = rendered(
        kubectl, "kustomize", str(EXAMPLES / "kustomize" / "overlays" / overlay)
    )
    assert document["metadata"] == {"name": "efficientnet", "namespace": namespace}
    assert kinds(document) == models
    named = document["spec"]["models"][0]["dali"]["source"]["configMap"]["name"]
    assert named == config_map["metadata"]["name"] != "efficientnet"
    assert config_map["data"]["pipeline.py"] == (ROOT / "examples/efficientnet/pipeline.py").read_text()


@pytest.mark.helm
@pytest.mark.parametrize(
    ("values", "models"),
    [
        ([], ["dali", "onnxruntime", "ensemble"]),
        (["values-prod.yaml"], ["dali", "tensorrt", "ensemble"]),
    ],
)
def test_helm_chart(values: list[str], models: list[str], helm: str) -> None:
    files = [part for name in values for part in ("--values", str(CHART / name))]
    document, _ = rendered(helm, "template", "efficientnet", str(CHART), "--namespace", "vision", *files)
    assert document["metadata"] == {"name": "efficientnet", "namespace": "vision"}
    assert kinds(document) == models


@pytest.mark.go
@pytest.mark.parametrize("name", ["kustomization.yaml", "helmrelease.yaml"])
def test_flux_takes_its_manifests(name: str, judge: Judges) -> None:
    assert judge.complaint(EXAMPLES / "flux" / name) == ""


def test_every_path_that_a_manifest_names_is_there() -> None:
    application = yaml.safe_load((EXAMPLES / "argo-cd" / "application.yaml").read_text())
    kustomization = yaml.safe_load((EXAMPLES / "flux" / "kustomization.yaml").read_text())
    chart = yaml.safe_load((EXAMPLES / "flux" / "helmrelease.yaml").read_text())["spec"]["chart"]["spec"]
    paths = [application["spec"]["source"]["path"], kustomization["spec"]["path"], chart["chart"]]
    for path in (*paths, *chart["valuesFiles"]):
        assert (ROOT / path).exists(), path
