"""ONNX graphs converted to half precision, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from ensemble_builder.compilers.tensorrt import graph, half
from ensembles_api.spec import FloatType, KeepFp32, TensorType
from tests.unit.compilers.engine_building import classifier

X = np.random.default_rng(0).uniform(-1, 1, (2, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def converted(tmp_path: Path) -> onnx.ModelProto:
    """The classifier with its head in FP32 and its input in half."""
    (tmp_path / "model.onnx").write_bytes(classifier())
    found = graph.load(tmp_path / "model.onnx", field="f", source_field="f.source")
    kept = graph.kept_nodes(found, KeepFp32(ops=["Softmax"], nodes=["head"]))
    types = graph.io_types(found, [TensorType(name="x", data_type=FloatType.FP16)])
    made = half.converted(found, kept=kept, types=types, scratch=tmp_path)
    graph.cast_io(made, types)
    return onnx.load(made.path)


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    answer: np.ndarray = session.run(["y"], {"x": x})[0]
    return answer


def test_it_answers_as_the_original_does(converted: onnx.ModelProto) -> None:
    expected = run(classifier(), X)
    found = run(converted.SerializeToString(), X.astype(np.float16))

    assert found.dtype == np.float32
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


def test_nothing_is_rounded_between_what_is_kept_and_the_output(converted: onnx.ModelProto) -> None:
    makers = {name: node for node in converted.graph.node for name in node.output}
    path = []
    name = "y"
    while makers[name].name != "head":
        path.append(makers[name].op_type)
        name = makers[name].input[0]

    assert "Cast" not in path
    assert "Softmax" in path
