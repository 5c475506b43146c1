"""Precision, types of inputs and outputs, shape tensors and builder settings, on TensorRT-RTX."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest

from ensembles_api.contract import CompileResult, Tensor
from ensembles_api.reasons import Reason
from tests.unit.compilers.engine_building import FIELD, classifier, compile_onnx, convolution, cropping

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples"))
from preparation.ocr import text_model

Compile = Callable[..., CompileResult]


@pytest.fixture
def build(tmp_path: Path) -> Compile:
    return functools.partial(compile_onnx, tmp_path / "work")


def test_an_fp32_model_is_converted_and_computes_in_half(build: Compile) -> None:
    result = build(classifier(), max_batch_size=2, precision="fp16")

    assert result.fault is None, result.fault
    assert result.io is not None
    assert result.provenance["converted"] is True
    assert result.provenance["converter"] == f"onnxruntime {onnxruntime.__version__}"
    assert result.provenance["layers"] == {"HALF": 5}
    assert [tensor.data_type for tensor in result.io.inputs] == ["TYPE_FP32"]
    assert [tensor.data_type for tensor in result.io.outputs] == ["TYPE_FP32", "TYPE_INT64"]


def test_what_is_kept_stays_in_fp32(build: Compile) -> None:
    keep = {"ops": ["Softmax"], "nodes": ["head"]}

    result = build(classifier(), max_batch_size=2, precision="fp16", keep_fp32=keep)

    assert result.fault is None, result.fault
    assert result.provenance["kept_in_fp32"] == 2
    assert result.provenance["layers"] == {"FLOAT": 2, "HALF": 3}


def test_a_model_kept_wholly_in_fp32_is_not_passed_off_as_half(build: Compile) -> None:
    fault = build(convolution(), precision="fp16", keep_fp32={"ops": ["Conv"]}).fault

    assert fault is not None
    assert fault.field == f"{FIELD}.precision"
    assert "computes in FLOAT" in fault.message


def test_a_real_model_in_half(build: Compile) -> None:
    profile = {"name": "x", "min": [1, 3, 48, 192], "opt": [4, 3, 48, 192], "max": [8, 3, 48, 192]}

    result = build(text_model("direction").read_bytes(), precision="fp16", profiles=[{"shapes": [profile]}])

    assert result.fault is None, result.fault
    assert result.provenance["layers"]["HALF"] > 100


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_inputs_and_outputs_take_the_types_stated(build: Compile, precision: str) -> None:
    io = [{"name": "x", "data_type": "fp16"}, {"name": "y", "data_type": "fp16"}]

    result = build(classifier(), max_batch_size=2, precision=precision, io=io)

    assert result.io is not None, result.fault
    assert result.io.inputs[0].data_type == "TYPE_FP16"
    assert result.io.outputs[0].data_type == "TYPE_FP16"
    assert ("FLOAT" in result.provenance["layers"]) == (precision == "tf32")


def test_the_value_of_a_shape_tensor_gets_a_range(build: Compile) -> None:
    values = [{"name": "size", "min": [2], "opt": [4], "max": [8]}]

    result = build(cropping(), profiles=[{"values": values}])

    assert result.io is not None, result.fault
    assert not result.io.batchable
    assert result.io.inputs[1] == Tensor(
        name="size", data_type="TYPE_INT64", shape=(1,), is_shape_tensor=True
    )
    assert result.io.outputs[0].shape == (1, -1)


def test_with_batching_the_server_writes_the_batch_into_a_shape_tensor(build: Compile) -> None:
    shapes = [{"name": "x", "min": [1, 8], "opt": [2, 8], "max": [4, 8]}]
    values = [{"name": "size", "min": [1, 2], "opt": [2, 4], "max": [4, 8]}]

    result = build(cropping(("n", 8), 2), max_batch_size=4, profiles=[{"shapes": shapes, "values": values}])

    assert result.io is not None, result.fault
    assert result.io.max_batch_size == 4
    assert result.io.inputs[1].shape == (1,)
    assert result.io.inputs[1].is_shape_tensor


def test_settings_that_this_tensorrt_knows_are_taken(
    build: Compile, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = {
        "optimization_level": 1,
        "workspace": "256Mi",
        "tactic_sources": ["JIT_CONVOLUTIONS"],
        "flags": ["SPARSE_WEIGHTS"],
    }

    result = build(convolution(), builder=builder)

    assert result.fault is None, result.fault
    assert '{"progress": 100' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parameters", "code", "field", "words"),
    [
        (
            {"builder": {"flags": ["TURBO"]}},
            Reason.NOT_SUPPORTED,
            ".builder.flags[0]",
            "no builder flag TURBO",
        ),
        (
            {"builder": {"tactic_sources": ["CUDNN"]}},
            Reason.NOT_SUPPORTED,
            ".builder.tacticSources[0]",
            "knows no tactic source CUDNN; it has EDGE_MASK_CONVOLUTIONS, JIT_CONVOLUTIONS",
        ),
        (
            {"builder": {"hardware_compatibility": "AmperePlus"}},
            Reason.NOT_SUPPORTED,
            ".builder.hardwareCompatibility",
            "knows no hardware compatibility level AMPERE_PLUS; it has none",
        ),
        (
            {"builder": {"workspace": "1Mi"}},
            Reason.INVALID_SPEC,
            ".builder.workspace",
            "1Mi does not suffice",
        ),
        (
            {"builder": {"version_compatible": True}},
            Reason.NOT_SUPPORTED,
            ".builder.versionCompatible",
            "lacks TensorRT's lean runtime",
        ),
        (
            {"precision": "bf16", "keep_fp32": {"ops": ["Conv"]}},
            Reason.NOT_SUPPORTED,
            ".keepFp32",
            "computes in the types of the ONNX",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    build: Compile, parameters: Mapping[str, Any], code: Reason, field: str, words: str
) -> None:
    fault = build(classifier(), **parameters).fault

    assert fault is not None
    assert (fault.code, fault.field) == (code, FIELD + field)
    assert words in fault.message


def test_external_data_that_is_missing_is_named(build: Compile, tmp_path: Path) -> None:
    model = onnx.load_model_from_string(convolution())
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)

    fault = build((tmp_path / "m.onnx").read_bytes()).fault

    assert fault is not None
    assert "weights lie in w.bin, which is not there" in fault.message
