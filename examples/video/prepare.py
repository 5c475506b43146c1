"""Writes the model files into a folder: python examples/video/prepare.py FOLDER"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from preparation.folders import copy_sources, put  # noqa: E402
from preparation.video import clip  # noqa: E402


def prepare(output: Path) -> None:
    copy_sources(HERE, output, "pipeline.py")
    put(clip(), output / "bikes.mp4")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
