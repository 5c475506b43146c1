"""Engines built from ONNX by TensorRT-RTX, which builds without a GPU (and cannot load them there)."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto

from ensemble_builder.compilers.tensorrt import library
from ensemble_builder.faults import FaultError
from ensembles_api.contract import CompileResult, Tensor
from ensembles_api.reasons import Reason
from tests.unit.compilers.engine_building import FIELD, compile_onnx, convolution

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples"))
from preparation.ocr import text_model

Compile = Callable[..., CompileResult]


@pytest.fixture
def build(tmp_path: Path) -> Compile:
    return functools.partial(compile_onnx, tmp_path / "work")


def shapes(name: str, low: list[int], best: list[int], high: list[int]) -> dict[str, object]:
    return {"shapes": [{"name": name, "min": low, "opt": best, "max": high}]}


def test_an_engine_for_the_batches_asked_for(build: Compile) -> None:
    result = build(convolution(), max_batch_size=8)

    assert result.fault is None
    assert result.files == ("model.plan",)
    assert result.io is not None
    assert result.io.batchable
    assert result.io.max_batch_size == 8
    assert result.io.profiles == ()
    assert result.io.inputs == (Tensor(name="x", data_type="TYPE_FP32", shape=(3, 16, 16)),)
    assert result.io.outputs == (Tensor(name="y", data_type="TYPE_FP32", shape=(4, 14, 14)),)
    assert result.provenance["precision"] == "tf32"
    assert result.provenance["tensorrt"].startswith("1.")


def test_half_precision_that_the_onnx_brings(build: Compile) -> None:
    result = build(convolution(kind=TensorProto.FLOAT16), max_batch_size=2, precision="fp16")

    assert result.fault is None
    assert result.io is not None
    assert result.io.inputs[0].data_type == "TYPE_FP16"


def test_a_real_model_with_two_profiles(build: Compile) -> None:
    small = shapes("x", [1, 3, 48, 64], [4, 3, 48, 192], [8, 3, 48, 320])
    large = shapes("x", [1, 3, 48, 320], [1, 3, 48, 640], [2, 3, 48, 960])

    result = build(text_model("direction").read_bytes(), profiles=[small, large])

    assert result.fault is None, result.fault
    assert result.io is not None
    assert result.io.profiles == ("0", "1")
    assert result.io.max_batch_size == 8
    assert result.io.inputs[0].shape == (3, -1, -1)
    assert result.io.outputs[0].shape == (2,)


@pytest.mark.parametrize(
    ("model", "parameters", "field", "words"),
    [
        (
            convolution(kind=TensorProto.FLOAT16),
            {},
            ".precision",
            "the ONNX itself computes in HALF: set precision to fp16",
        ),
        (convolution(), {"precision": "bf16"}, ".precision", "computes in FLOAT"),
        (convolution(), {"precision": "int8"}, ".precision", "has no QuantizeLinear/DequantizeLinear"),
        (
            convolution(operator="NoSuchOp"),
            {},
            ".source",
            "cannot read the ONNX (node NoSuchOp__1, operator NoSuchOp:",
        ),
        (b"no model", {}, ".source", "is not an ONNX file"),
        (
            convolution(),
            {"profiles": [shapes("x", [1, 3, 16, 16], [4, 3, 16, 16], [2, 3, 16, 16])]},
            ".profiles[0].shapes[0].opt",
            "axis 0 of 'x' goes 1, 4, 2",
        ),
    ],
)
def test_faults_name_the_field(
    build: Compile, model: bytes, parameters: Mapping[str, Any], field: str, words: str
) -> None:
    fault = build(model, **parameters).fault

    assert fault is not None
    assert fault.field == FIELD + field
    assert words in fault.message


def test_a_fixed_first_axis_cannot_batch(build: Compile) -> None:
    fault = build(convolution((1, 3, 16, 16)), max_batch_size=4).fault

    assert fault is not None
    assert fault.code is Reason.INVALID_MODEL
    assert fault.field == "spec.models[1].maxBatchSize"
    assert "dynamic first axis" in fault.message


def test_without_batching_shapes_stay_whole(build: Compile) -> None:
    result = build(convolution((1, 3, 16, 16)))

    assert result.io is not None
    assert not result.io.batchable
    assert result.io.max_batch_size == 0
    assert result.io.inputs[0].shape == (1, 3, 16, 16)


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_external_data_beside_the_model_is_read(build: Compile, tmp_path: Path, precision: str) -> None:
    model = onnx.load_model_from_string(convolution())
    folder = tmp_path / "work" / "in"
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)

    result = build((folder / "model.onnx").read_bytes(), max_batch_size=2, precision=precision)

    assert result.fault is None


def test_another_tensorrt_than_the_servers_is_refused(build: Compile) -> None:
    fault = build(convolution(), tensorrt_version="10.16.1").fault

    assert fault is not None
    assert fault.code is Reason.RELEASE_MISMATCH
    assert "the server has 10.16.1" in fault.message


def test_an_image_without_tensorrt_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MODULES", ("no_tensorrt_here",))

    with pytest.raises(FaultError) as caught:
        library.load_tensorrt("")
    assert caught.value.fault.code is Reason.NOT_SUPPORTED
