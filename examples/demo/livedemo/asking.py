"""The command line that people use, run from the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

from livedemo.kubernetes import Cluster
from livedemo.places import NAMESPACE
from livedemo.progress import bold, say


def validate(cluster: Cluster, file: Path) -> None:
    _run(cluster, "validate", str(file))


def infer(cluster: Cluster, name: str, photograph: Path, *more: str) -> None:
    """One photograph, as encoded bytes, through the ensemble."""
    _run(cluster, "infer", name, "--image", str(photograph), *more, "-n", NAMESPACE)


def _run(cluster: Cluster, *arguments: str) -> None:
    say(f"\n{bold('kubectl ensemble ' + ' '.join(arguments))}")
    cluster.stream(sys.executable, "-m", "ensemble_cli", *arguments)
