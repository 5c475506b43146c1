"""Writes the model files into a folder: python examples/bls/prepare.py FOLDER"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from preparation.efficientnet import efficientnet_onnx, imagenet_labels  # noqa: E402
from preparation.folders import copy_sources, put  # noqa: E402
from preparation.photographs import photograph  # noqa: E402


def prepare(output: Path) -> None:
    copy_sources(HERE.parent / "efficientnet", output, "pipeline.py")
    copy_sources(HERE, output, "classify")
    put(efficientnet_onnx(), output / "model.onnx")
    put(imagenet_labels(), output / "classify" / "labels.txt")
    for name in ("coffee.png", "rocket.jpg"):
        put(photograph(name), output / "photographs" / name)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
