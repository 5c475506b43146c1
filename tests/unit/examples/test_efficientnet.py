"""The whole chain on the CPU with real DALI and real ONNX Runtime: photographs get their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from nvidia.dali import Pipeline
from preparation.photographs import photograph


@pytest.fixture(scope="module")
def preprocessing(pipeline: Callable[[str, str], Pipeline]) -> Pipeline:
    return pipeline("efficientnet", "preprocessing")


@pytest.fixture(scope="module")
def folder(prepared: Callable[[str], Path]) -> Path:
    return prepared("efficientnet")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("coffee.png", "espresso"),
        ("chelsea.png", "tiger cat"),
        ("rocket.jpg", "missile"),
        ("motorcycle_left.png", "moped"),
    ],
)
def test_photographs_are_recognised(name: str, expected: str, folder: Path, preprocessing: Pipeline) -> None:
    preprocessing.feed_input("encoded", [np.fromfile(photograph(name), np.uint8)])
    image = np.asarray(preprocessing.run()[0][0])[np.newaxis]
    assert image.shape == (1, 3, 224, 224)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    probabilities = session.run(["probabilities"], {"image": image})[0][0]
    labels = (folder / "labels.txt").read_text().splitlines()
    assert len(labels) == len(probabilities) == 1000
    assert probabilities.sum() == pytest.approx(1, abs=1e-4)
    assert labels[int(probabilities.argmax())] == expected


def test_the_graph_batches_and_is_folded(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    for tensor in (*model.graph.input, *model.graph.output):
        assert tensor.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert not {"ConstantOfShape", "Cast", "Slice", "Constant"} & {node.op_type for node in model.graph.node}
