"""Writes this example's model files into a folder: python examples/efficientnet/prepare.py FOLDER"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from preparation.efficientnet import efficientnet_onnx, imagenet_labels  # noqa: E402


def prepare(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for file in (HERE / "pipeline.py", efficientnet_onnx(), imagenet_labels()):
        shutil.copyfile(file, output / file.name)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
