"""ONNX graphs converted to half precision, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from ensemble_builder.compilers.tensorrt import graph, half
from ensemble_builder.faults import FaultError
from ensembles_api.spec import FloatType, KeepFp32, TensorType
from tests.unit.compilers.engine_building import classifier

X = np.random.default_rng(0).uniform(-1, 1, (2, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def converted(original: graph.Graph, tmp_path: Path) -> onnx.ModelProto:
    """The classifier with its head in FP32 and its input in half."""
    kept = graph.kept_nodes(original, KeepFp32(ops=["Softmax"], nodes=["head"]))
    types = graph.io_types(original, [TensorType(name="x", data_type=FloatType.FP16)])
    made = half.converted(original, kept=kept, types=types, scratch=tmp_path)
    graph.cast_io(made, types)
    return onnx.load(made.path)


@pytest.fixture
def original(tmp_path: Path) -> graph.Graph:
    (tmp_path / "model.onnx").write_bytes(classifier())
    return graph.load(tmp_path / "model.onnx", field="f", source_field="f.source")


@pytest.mark.parametrize(
    ("keep", "field", "words"),
    [
        ({"ops": ["Conv", "Cnov"]}, "f.keepFp32.ops[1]", "no operator 'Cnov'; it has Conv"),
        ({"nodes": ["heat"]}, "f.keepFp32.nodes[0]", "no node 'heat'; it has head"),
    ],
)
def test_what_is_kept_must_be_there(
    original: graph.Graph, keep: dict[str, list[str]], field: str, words: str
) -> None:
    with pytest.raises(FaultError, match=words) as caught:
        graph.kept_nodes(original, KeepFp32.model_validate(keep))
    assert caught.value.fault.field == field


@pytest.mark.parametrize(
    ("names", "field", "words"),
    [
        (["x", "z"], "f.io[1].name", "no input or output 'z'; it has best, x, y"),
        (["x", "y", "x"], "f.io[2].name", "'x' stands here twice"),
        (["x", "best"], "f.io[1].dataType", "'best' is INT64"),
    ],
)
def test_tensors_of_other_types_must_be_there(
    original: graph.Graph, names: list[str], field: str, words: str
) -> None:
    wanted = [TensorType(name=name, data_type=FloatType.FP16) for name in names]
    with pytest.raises(FaultError, match=words) as caught:
        graph.io_types(original, wanted)
    assert caught.value.fault.field == field


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
