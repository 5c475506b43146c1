"""Argo CD's own test of health scripts, run on ours. Compiling Argo CD takes minutes, once."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import CACHE
from tests.gitops.judges import CUSTOMIZATIONS, EXAMPLES, HEALTH, go

pytestmark = [pytest.mark.argo, pytest.mark.timeout(3600)]

ARGO = "github.com/argoproj/argo-cd/v3@v3.5.7"
ENGINE = "github.com/argoproj/argo-cd/gitops-engine"
ENGINE_VERSION = "v0.0.0-20260708145834-74d0f9207b67"
"""Argo CD takes this module from its own tree; its Go module leaves it out. Here a published commit."""
NOT_NEEDED = ("ui", "docs", "hack", "manifests", "test", "resource_customizations")


def test_argo_cds_test_passes(tmp_path: Path) -> None:
    program, environment = go(CACHE)

    def call(*arguments: str, folder: Path) -> str:
        done = subprocess.run(
            [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    source = Path(json.loads(call("mod", "download", "-json", ARGO, folder=tmp_path))["Dir"])
    copy = tmp_path / "argo-cd"
    shutil.copytree(
        source,
        copy,
        ignore=lambda folder, _: NOT_NEEDED if folder == str(source) else (),
        copy_function=shutil.copyfile,
    )
    for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    customizations = copy / "resource_customizations"
    shutil.copytree(CUSTOMIZATIONS, customizations)
    shutil.copyfile(source / "resource_customizations" / "embed.go", customizations / "embed.go")
    runner = copy / "util" / "lua"
    for test in set(runner.glob("*_test.go")) - {runner / "health_test.go"}:
        test.unlink()  # they need the engine as it is in Argo CD's tree
    shutil.copy(Path(__file__).parent / "application_test.go", runner)
    shutil.copy(EXAMPLES / "argo-cd" / "application.yaml", runner)
    call("mod", "edit", f"-replace={ENGINE}={ENGINE}@{ENGINE_VERSION}", folder=copy)
    said = call("test", "-trimpath", "-mod=mod", "-vet=off", "-v", "./util/lua", folder=copy)
    assert "--- PASS: TestApplication" in said
    cases = yaml.safe_load((HEALTH.parent / "health_test.yaml").read_text())["tests"]
    for case in cases:
        name = f"ensembles.dev/InferenceEnsemble/{case['inputPath']}"
        assert f"--- PASS: TestLuaHealthScript/{name}" in said
