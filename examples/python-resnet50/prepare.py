"""Writes the model files into a folder: python examples/python-resnet50/prepare.py FOLDER"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from preparation.efficientnet import imagenet_labels, put_network  # noqa: E402
from preparation.folders import copy_sources, put  # noqa: E402
from preparation.wheels import Wheel  # noqa: E402

PILLOW = Wheel(
    "pillow",
    "pillow-12.0.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "bee2a6db3a7242ea309aa7ee8e2780726fed67ff4e5b40169f2c940e7eb09227",
)


def prepare(output: Path) -> None:
    copy_sources(HERE, output, "preprocess", "postprocess")
    with_pillow = output / "preprocess-with-pillow"
    copy_sources(HERE / "preprocess", with_pillow, "model.py")
    with zipfile.ZipFile(PILLOW.path()) as wheel:
        wheel.extractall(with_pillow)
    put_network(output / "model.onnx", reads="input", writes="output")
    put(imagenet_labels(), output / "postprocess" / "labels.txt")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
