"""Where things of the demo lie."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
CLUSTER_TOOL = ROOT / "tests" / "cluster" / "cluster.py"
IMAGE_TOOL = ROOT / "tests" / "images" / "build.py"
S3_MANIFEST = ROOT / "tests" / "images" / "s3.yaml"
CHART = ROOT / "charts" / "ensemble-operator"
VENV = ROOT / ".venv"

EXAMPLE = "efficientnet"
NAMESPACE = "demo"
OPERATOR_NAMESPACE = "ensemble-operator"
OPERATOR = "ensemble-operator"
S3_NAMESPACE = "s3"
KIND_CLUSTER = "ensembles"
PHOTOGRAPH = "coffee.png"


def cache() -> Path:
    return Path(os.environ.get("ENSEMBLES_CACHE") or "~/.cache/ensembles-cluster").expanduser()
