"""Argo CD, Flux and kstatus agree about ensembles as a cluster showed them to tests/e2e/test_gitops.py."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.gitops.judges import EXAMPLES, EXPECTED, HEALTH, Judges

pytestmark = pytest.mark.go

TESTDATA = HEALTH.parent / "testdata"


def test_the_verdicts(judge: Judges) -> None:
    files = [TESTDATA / f"{name}.yaml" for name in EXPECTED]
    said = judge.of_files(files)
    assert {file.stem: verdict.words for file, verdict in zip(files, said, strict=True)} == EXPECTED


def test_argo_cds_own_test_file_says_the_same(judge: Judges) -> None:
    tests = yaml.safe_load((HEALTH.parent / "health_test.yaml").read_text())["tests"]
    files = [HEALTH.parent / test["inputPath"] for test in tests]
    assert sorted(files) == sorted(TESTDATA.iterdir())
    said = [{"status": found.argo, "message": found.message} for found in judge.of_files(files)]
    assert said == [test["healthStatus"] for test in tests]


@pytest.mark.parametrize(
    "status",
    [
        # What the API server gives a new object; without any status kstatus would take it for Current.
        {"observedGeneration": -1},
        {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]},
    ],
    ids=["nothing yet", "an earlier generation"],
)
def test_what_says_nothing_of_this_generation_is_in_progress(status: dict[str, Any], judge: Judges) -> None:
    document = yaml.safe_load((TESTDATA / "ready.yaml").read_text())
    document["metadata"]["generation"] = 2
    document["status"] = status
    assert judge.of(document).words == ("Progressing", "InProgress", "InProgress")


def test_the_config_map_holds_the_same_script() -> None:
    document = yaml.safe_load((EXAMPLES / "argo-cd" / "argocd-cm.yaml").read_text())
    assert document["data"] == {
        "resource.customizations.health.ensembles.dev_InferenceEnsemble": HEALTH.read_text()
    }
