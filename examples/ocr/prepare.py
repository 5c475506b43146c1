"""Writes the model files into a folder: python examples/ocr/prepare.py FOLDER"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from preparation.folders import copy_sources, put  # noqa: E402
from preparation.ocr import MODELS, characters, text_model  # noqa: E402


def prepare(output: Path) -> None:
    copy_sources(HERE, output, "pipeline.py", "fit", "crop", "upright", "read")
    for name in MODELS:
        put(text_model(name), output / f"{name}.onnx")
    put(characters(), output / "read" / "characters.txt")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
