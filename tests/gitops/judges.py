"""What GitOps tools make of an ensemble, said by their own code: a Go program around their packages."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcluster import toolchain

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "gitops"
CUSTOMIZATIONS = EXAMPLES / "argo-cd" / "resource_customizations"
HEALTH = CUSTOMIZATIONS / "ensembles.dev" / "InferenceEnsemble" / "health.lua"
FLUX = EXAMPLES / "flux" / "kustomization.yaml"

EXPECTED: Mapping[str, tuple[str, str, str]] = {
    "created": ("Progressing", "InProgress", "InProgress"),
    "assembling": ("Progressing", "InProgress", "InProgress"),
    "rolling-out": ("Progressing", "InProgress", "InProgress"),
    "ready": ("Healthy", "Current", "Current"),
    "unavailable": ("Progressing", "InProgress", "InProgress"),
    "changed": ("Progressing", "InProgress", "InProgress"),
    # The one case in which Flux's expressions say more than kstatus can know.
    "suspended": ("Suspended", "InProgress", "Current"),
    "stalled-at-first": ("Degraded", "Failed", "Failed"),
    "stalled-later": ("Degraded", "Failed", "Failed"),
    "deleting": ("Progressing", "Terminating", "InProgress"),
}
"""What Argo CD, kstatus and Flux's expressions say at each stage of a life."""


@dataclass(frozen=True)
class Verdict:
    argo: str
    """Healthy, Progressing, Degraded or Suspended."""
    message: str
    """What Argo CD shows beside it."""
    kstatus: str
    """Current, InProgress, Failed or Terminating: Flux, Helm and `kubectl wait` without expressions."""
    flux: str
    """The same by the healthCheckExprs of our Kustomization."""

    @property
    def words(self) -> tuple[str, str, str]:
        return self.argo, self.kstatus, self.flux


@dataclass(frozen=True)
class Judges:
    program: Path

    def of(self, document: Mapping[str, Any]) -> Verdict:
        """Judge a resource as it is in the cluster."""
        (found,) = self._judge("-", text=json.dumps(document))
        return found

    def of_files(self, files: Sequence[Path]) -> list[Verdict]:
        return self._judge(*map(str, files))

    def complaint(self, manifest: Path) -> str:
        """What Flux has against a manifest of its own kinds; empty where it takes it."""
        return self._run("check", str(manifest)).stderr

    def _judge(self, *files: str, text: str | None = None) -> list[Verdict]:
        done = self._run("judge", str(HEALTH), str(FLUX), *files, text=text)
        assert done.returncode == 0, done.stderr
        return [_verdict(json.loads(line)) for line in done.stdout.splitlines()]

    def _run(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.program), *arguments], input=text, capture_output=True, text=True, check=False
        )


def _verdict(said: Mapping[str, Any]) -> Verdict:
    argo = said["argo"]
    return Verdict(argo["status"], argo["message"], said["kstatus"], said["flux"])


def go(cache: Path) -> tuple[str, dict[str, str]]:
    """The go program, and the environment to call it in."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    return str(toolchain.go(cache)), environment


def build(cache: Path, folder: Path) -> Judges:
    """Compile the program; a second time takes what Go's build cache has."""
    program, environment = go(cache)
    target = folder / "verdicts"
    done = subprocess.run(
        [program, "build", "-trimpath", "-o", str(target), "."],
        cwd=Path(__file__).parent / "verdicts",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Judges(target)
