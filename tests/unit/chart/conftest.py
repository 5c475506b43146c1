"""The chart, rendered by helm."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[3] / "charts" / "ensemble-operator"
NAMESPACE = "ensembles"


class Chart:
    def __init__(self, helm: str, scratch: Path) -> None:
        self._helm = helm
        self._values = scratch / "values.json"
        self._results: dict[str, subprocess.CompletedProcess[str]] = {}

    def text(self, values: dict[str, Any]) -> str:
        """What helm renders with these values."""
        result = self._template(json.dumps(values))
        assert result.returncode == 0, result.stderr
        return result.stdout

    def refusal(self, values: dict[str, Any]) -> str:
        """What helm says of values that it must refuse."""
        result = self._template(json.dumps(values))
        assert result.returncode != 0, "helm accepts these values"
        return result.stderr

    def _template(self, values: str) -> subprocess.CompletedProcess[str]:
        if values in self._results:
            return self._results[values]
        self._values.write_text(values, encoding="utf-8")
        command = [
            self._helm, "template", "operator", str(CHART), "--namespace", NAMESPACE,
            "--kube-version", "1.36.0", "--values", str(self._values),
        ]  # fmt: skip
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        self._results[values] = result
        return result

    def objects(self, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        # libyaml's loader: the CRD alone has two thousand lines.
        return [document for document in yaml.load_all(self.text(values or {}), yaml.CSafeLoader) if document]

    def only(self, kind: str, values: dict[str, Any] | None = None, *, ending: str = "") -> dict[str, Any]:
        """The one object of that kind whose name ends so."""
        found = [
            item
            for item in self.objects(values)
            if item["kind"] == kind and item["metadata"]["name"].endswith(ending)
        ]
        assert len(found) == 1, [item["metadata"]["name"] for item in found]
        return found[0]

    def lint(self) -> None:
        subprocess.run([self._helm, "lint", "--strict", str(CHART)], check=True)


@pytest.fixture(scope="session")
def chart(helm: str, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart(helm, tmp_path_factory.mktemp("chart"))
