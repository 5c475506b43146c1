"""Writes the model files into a folder: python examples/from-config-pbtxt/prepare.py FOLDER

model.dali is made as it was by hand: by running the other example's script.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from preparation.efficientnet import imagenet_labels, put_network  # noqa: E402
from preparation.folders import copy_sources, put  # noqa: E402

SCRIPT = HERE.parent / "dali-resnet50" / "serialize_dali_pipeline.py"


def prepare(output: Path) -> None:
    copy_sources(HERE, output, "model_repository")
    repository = output / "model_repository"
    pipe = runpy.run_path(str(SCRIPT))["pipe"]
    pipeline = pipe(device="cpu", mean=[127.0], std=[128.0], device_id=None)
    (repository / "dali" / "1").mkdir(parents=True, exist_ok=True)
    (repository / "dali" / "1" / "model.dali").write_bytes(pipeline.serialize())
    put_network(repository / "resnet50_trt" / "1" / "model.onnx", reads="input", writes="output")
    put(imagenet_labels(), repository / "resnet50_trt" / "labels.txt")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
