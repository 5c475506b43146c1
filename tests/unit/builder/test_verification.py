"""Which requests a revision must answer, and which of them are guesses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import triton_to_np_dtype

from ensemble_builder.artifacts.verification import verification
from ensemble_builder.commands.verify.answers import complaints
from ensemble_builder.commands.verify.inference import grpc_input, widened
from ensemble_builder.commands.verify.requests import requests
from ensembles_api.contract import (
    ArtifactRecord,
    BuildOrder,
    Lock,
    LockedFile,
    ModelIO,
    Request,
    SampleRequest,
    SampleTensor,
    TargetRequest,
)
from ensembles_api.verification import VerificationCase

KEY, BLOB = "1" * 64, "2" * 64
SAMPLE = SampleTensor(name="RAW", data_type="TYPE_UINT8", shape=(1, 7), file="samples/0-0.bin")


def config(name: str, backend: str, text: str = "", *, dims: str = "3") -> ModelConfig:
    tensors = (
        f'input [{{ name: "x" data_type: TYPE_FP32 dims: [{dims}] }}]\n'
        'output [{ name: "y" data_type: TYPE_FP32 dims: [3] }]\n'
    )
    parsed: ModelConfig = text_format.Parse(
        f'name: "{name}" backend: "{backend}" {text or tensors}', ModelConfig()
    )
    return parsed


def ensemble(
    name: str, *steps: tuple[str, dict[str, str], dict[str, str]], inputs: str = "IN"
) -> ModelConfig:
    text = (
        f'name: "{name}" platform: "ensemble" input [{{ name: "{inputs}" data_type: TYPE_UINT8 dims: [-1] }}]'
    )
    made: ModelConfig = text_format.Parse(text, ModelConfig())
    for model, ins, outs in steps:
        step = made.ensemble_scheduling.step.add(model_name=model, model_version=-1)
        step.input_map.update(ins)
        step.output_map.update(outs)
    return made


def cases(
    *configs: ModelConfig, given: bool = False, sampled: bool = True
) -> tuple[dict[str, VerificationCase], set[str]]:
    """Cases by model, of a lock whose pipeline `pre` has a sample; and the sample files."""
    order = BuildOrder(
        kind="dali",
        key=KEY,
        model="pre",
        version=1,
        field="spec.models[0].dali",
        inputs=(),
        parameters={"samples": [{"inputs": []}] if given else []},
    )
    record = ArtifactRecord(
        kind="dali",
        key=KEY,
        files=(),
        io=ModelIO(batchable=True, inputs=(), outputs=()),
        samples=(SampleRequest(inputs=(SAMPLE,)),) if sampled else (),
        sample_files=(LockedFile(path=SAMPLE.file, sha256=BLOB, size=7),) if sampled else (),
    )
    request = Request(
        namespace="n",
        name="e",
        models=(),
        targets=(TargetRequest(name="t"),),
        server_image="s",
        builder_image="b",
    )
    lock = Lock(request=request, sources=(), builds=(order,))
    found = verification(lock, {KEY: record}, {each.name: each for each in configs})
    return {case.model: case for case in found.plan.cases}, set(found.files)


PRE = config("pre", "dali")
NET = config("net", "onnxruntime")
CODE = config("code", "python")


def test_models_of_fixed_shape_take_zeros_for_certain() -> None:
    found, files = cases(NET, sampled=False)
    assert (found["net"].inputs, found["net"].guessed) == ((), False)
    assert files == set()


def test_free_axes_strings_and_user_code_make_it_a_guess() -> None:
    free = config("free", "onnxruntime", dims="-1")
    text = config("text", "onnxruntime", 'input [{ name: "x" data_type: TYPE_STRING dims: [1] }]')
    shape = config(
        "shape", "tensorrt", 'input [{ name: "x" data_type: TYPE_INT32 dims: [4] is_shape_tensor: true }]'
    )
    found, _ = cases(CODE, free, text, shape, sampled=False)
    assert {name: case.guessed for name, case in found.items()} == {
        "code": True,
        "free": True,
        "text": True,
        "shape": True,
    }


def test_a_pipeline_is_asked_with_its_sample() -> None:
    found, files = cases(PRE)
    assert found["pre"].inputs == (SAMPLE.model_copy(update={"file": f"samples/{BLOB}"}),)
    assert not found["pre"].guessed
    assert files == {f"verification/samples/{BLOB}"}


def test_an_ensemble_gets_the_sample_of_the_step_that_reads_its_input() -> None:
    both = ensemble("all", ("pre", {"RAW": "IN"}, {"o": "m"}), ("net", {"x": "m"}, {"y": "OUT"}))
    found, _ = cases(PRE, NET, both)
    assert [(tensor.name, tensor.file) for tensor in found["all"].inputs] == [("IN", f"samples/{BLOB}")]
    assert not found["all"].guessed


def test_so_does_an_ensemble_around_an_ensemble() -> None:
    inner = ensemble("inner", ("pre", {"RAW": "IN"}, {"o": "m"}))
    outer = ensemble("outer", ("inner", {"IN": "X"}, {"m": "n"}), inputs="X")
    found, _ = cases(PRE, inner, outer)
    assert [tensor.name for tensor in found["outer"].inputs] == ["X"]


def test_user_code_behind_a_generated_sample_makes_a_guess_and_behind_a_given_one_does_not() -> None:
    both = ensemble("all", ("pre", {"RAW": "IN"}, {"o": "m"}), ("code", {"x": "m"}, {"y": "OUT"}))
    generated, _ = cases(PRE, CODE, both)
    assert generated["all"].guessed
    given, _ = cases(PRE, CODE, both, given=True)
    assert not given["all"].guessed


def test_an_input_without_sample_makes_a_guess() -> None:
    both = ensemble("all", ("pre", {"RAW": "IN"}, {"o": "m"}), ("net", {"x": "OTHER"}, {"y": "OUT"}))
    both.input.add(name="OTHER", data_type="TYPE_FP32", dims=[3])
    found, _ = cases(PRE, NET, both)
    assert found["all"].guessed
    assert [tensor.name for tensor in found["all"].inputs] == ["IN"]


@pytest.mark.parametrize("sampled", [True, False])
def test_a_model_of_bfloat16_is_asked_in_bfloat16(tmp_path: Path, *, sampled: bool) -> None:
    tensors = 'input [{ name: "x" data_type: TYPE_BF16 dims: [3] }] max_batch_size: 4'
    raw = np.array([1.0, -2.5, 4.0], np.float32).view(np.uint16)[1::2].tobytes()  # the upper halves
    (tmp_path / "x.bin").write_bytes(raw)
    sample = SampleTensor(name="x", data_type="TYPE_BF16", shape=(1, 3), file="x.bin")
    case = VerificationCase(model="net", inputs=(sample,) if sampled else ())

    one, four = requests(case, config("net", "tensorrt", tensors), tmp_path, sequence=False)

    expected = raw if sampled else bytes(6)
    assert grpc_input(one[0].inputs[0])._get_content() == expected
    assert grpc_input(four[0].inputs[0])._get_content() == expected * 4


def test_an_answer_of_bfloat16_is_searched_for_what_is_not_finite() -> None:
    tensors = 'output [{ name: "y" data_type: TYPE_BF16 dims: [2] }]'
    value = np.array([1.0, np.nan], triton_to_np_dtype("BF16"))
    answer = {"y": ("BF16", widened("BF16", value))}

    (found,) = complaints(config("net", "tensorrt", tensors), answer, batch=None, streamed=False)

    assert "1 of 2 values are not finite" in found
