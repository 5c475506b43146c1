"""Whole repositories, and their config.pbtxt files to the byte.

`UPDATE_GOLDEN=1 pytest tests/unit/modelconfig/test_golden.py` writes the files anew; read the diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig import MemberVersion
from tests.unit.modelconfig.repository import (
    SOURCE,
    Entry,
    built,
    chain,
    classifier,
    decoder,
    io,
    model,
    python,
    step,
    steps,
    tensor,
)

FOLDER = Path(__file__).parent / "golden"
F, I64, U8, S = "FP32", "INT64", "UINT8", "STRING"

ENCODED = tensor("DALI_INPUT_0", U8, -1)
RESNET = model(
    "tensorrt",
    "resnet50_trt",
    io([tensor("input", F, 3, 224, 224)], [tensor("output", F, 1000)], max_batch_size=256),
    maxBatchSize=256,
    more={"label_files": {"output": "labels.txt"}},
)
DETECTOR = io([tensor("x", F, 3, -1, -1)], [tensor("mask", F, 1, -1, -1)])
RECOGNISER = io([tensor("x", F, 3, 48, -1)], [tensor("text", F, -1, 6625)])

CASES: dict[str, tuple[Entry, ...]] = {
    "resnet50": (
        decoder("dali", io([ENCODED], [tensor("DALI_OUTPUT_0", F, 3, 224, 224)]), maxBatchSize=256),
        RESNET,
        steps(
            "ensemble_dali_resnet50",
            step("dali", {"DALI_INPUT_0": "INPUT"}, {"DALI_OUTPUT_0": "preprocessed_image"}),
            step("resnet50_trt", {"input": "preprocessed_image"}, {"output": "OUTPUT"}),
        ),
    ),
    "efficientnet": (
        decoder(
            "preprocessing",
            io([tensor("DALI_INPUT", U8, -1)], [tensor("DALI_OUTPUT_0", F, 3, 224, 224)]),
            part={"mode": "Autoserialize", "threads": 8},
        ),
        model(
            "tensorrt",
            "efficientnet-b0",
            io([tensor("x", F, 3, 224, 224)], [tensor("logits", F, 1000)], max_batch_size=64),
            config={"dynamic_batching": {"max_queue_delay_microseconds": 500}},
        ),
        chain("efficientnet_ensemble", "preprocessing", "efficientnet-b0"),
    ),
    "python-pre-post": (
        python(
            "preprocess", [tensor("INPUT_0", U8, -1)], [tensor("OUTPUT_0", F, 3, 224, 224)], maxBatchSize=256
        ),
        RESNET,
        python(
            "postprocess",
            [tensor("INPUT_1", F, 1000)],
            [tensor("OUTPUT_1", S, 1)],
            maxBatchSize=256,
            part={"environment": {"source": SOURCE}},
            config={"instance_group": [{"count": 2, "kind": "KIND_CPU"}]},
        ),
        chain("ensemble_python_resnet50", "preprocess", "resnet50_trt", "postprocess"),
    ),
    "onnx-alone": (classifier(),),
    "onnx-fixed-batch": (
        classifier(
            "magika", io([tensor("bytes", "INT32", 1, 2048)], [tensor("target", F, 1, 214)], batchable=False)
        ),
    ),
    "onnx-scalar-per-sample": (
        classifier("scale", io([tensor("x", F, 8), tensor("factor", F)], [tensor("y", F, 8)])),
    ),
    "onnx-declared": (classifier("declared", autoComplete="Declared", maxBatchSize=8),),
    "onnx-left-to-server": (
        classifier("left", autoComplete="Server", config={"version_policy": {"all": {}}}),
    ),
    "onnx-sequence": (
        classifier(
            "vad",
            io(
                [tensor("input", F, -1), tensor("START", F, 1), tensor("state", F, 128)],
                [tensor("output", F, 1), tensor("stateN", F, 128)],
            ),
            maxBatchSize=16,
            config={
                "sequence_batching": {
                    "max_sequence_idle_microseconds": "5000000",
                    "oldest": {"max_candidate_sequences": 64},
                    "control_input": [
                        {
                            "name": "START",
                            "control": [{"kind": "CONTROL_SEQUENCE_START", "fp32_false_true": [0, 1]}],
                        }
                    ],
                    "state": [
                        {
                            "input_name": "state",
                            "output_name": "stateN",
                            "data_type": "TYPE_FP32",
                            "dims": [128],
                            "initial_state": [
                                {"name": "zero", "data_type": "TYPE_FP32", "dims": [128], "zero_data": True}
                            ],
                        }
                    ],
                }
            },
        ),
    ),
    "dali-not-batched": (decoder("single", maxBatchSize=0),),
    "dali-video": (
        decoder(
            "frames",
            io([tensor("INPUT", U8, -1)], [tensor("OUTPUT", U8, -1, 720, 1280, 3)], decoupled=True),
            maxBatchSize=1,
        ),
    ),
    "dali-renamed-outputs": (
        decoder(
            "two",
            io([ENCODED], [tensor("DALI_OUTPUT_0", F, 3, 224, 224), tensor("DALI_OUTPUT_1", I64, 3)]),
            config={"output": [{"name": "IMAGE"}, {"name": "SHAPE"}]},
        ),
        classifier(maxBatchSize=32),
        steps(
            "with_shape",
            step("two", {"DALI_INPUT_0": "jpeg"}, {"IMAGE": "image"}),
            step("classifier", {"input": "image"}, {"logits": "logits"}),
        ),
    ),
    "tensorrt-profiles": (
        model(
            "tensorrt",
            "shapes",
            io(
                [tensor("input", F, 3, -1, -1)],
                [tensor("output", "FP16", 1000)],
                max_batch_size=32,
                profiles=("0", "1"),
            ),
            config={"instance_group": [{"count": 2, "kind": "KIND_GPU", "gpus": [0]}]},
        ),
    ),
    "ocr": (
        classifier("detect", DETECTOR, maxBatchSize=1),
        python(
            "crop",
            [tensor("image", F, 3, -1, -1), tensor("mask", F, 1, -1, -1)],
            [tensor("crops", F, 3, 48, -1)],
        ),
        classifier("recognise", RECOGNISER, maxBatchSize=8),
        steps(
            "ocr",
            step("detect", {"x": "IMAGE"}, {"mask": "mask"}),
            step("crop", {"image": "IMAGE", "mask": "mask"}, {"crops": "crops"}),
            step("recognise", {"x": "crops"}, {"text": "TEXT"}),
        ),
    ),
    "versions": (
        Entry(
            {
                "name": "rotating",
                "versions": [{"version": n, "onnxruntime": {"source": SOURCE}} for n in (1, 3)],
                "config": {"version_policy": {"specific": {"versions": [1, 3]}}},
            },
            tuple(
                MemberVersion(n, "onnxruntime", io([tensor("x", F, 4)], [tensor("y", F, 2)])) for n in (1, 3)
            ),
        ),
        steps(
            "compare",
            step("rotating", {"x": "x"}, {"y": "old"}, version=1),
            step("rotating", {"x": "x"}, {"y": "new"}, version=3),
        ),
    ),
    "nested": (
        classifier("a", io([tensor("x", F, 4)], [tensor("y", F, 4)])),
        classifier("b", io([tensor("x", F, 4)], [tensor("z", F, 2)])),
        steps("inner", step("a", {"x": "n"}, {"y": "y"})),
        steps(
            "outer",
            step("inner", {"n": "on"}, {"y": "features"}),
            step("b", {"x": "features"}, {"z": "scores"}),
            config={
                "output": [
                    {"name": "scores", "dims": [1, 2], "reshape": {"shape": [2]}},
                    {"name": "features"},
                ],
                "response_cache": {"enable": True},
                "parameters": {"note": {"string_value": "${HOME} stays"}},
            },
            maxBatchSize=2,
        ),
    ),
    "files": (
        model(
            "files",
            "trees",
            more={
                "given_config": (
                    'backend: "fil"\nmax_batch_size: 8192\n'
                    'input [ { name: "input__0" data_type: TYPE_FP32 dims: [ 500 ] } ]\n'
                    'output [ { name: "output__0" data_type: TYPE_FP32 dims: [ 2 ] } ]\n'
                    'parameters [ { key: "model_type" value: { string_value: "xgboost_json" } } ]\n'
                )
            },
            config={
                "instance_group": [{"kind": "KIND_GPU"}],
                "parameters": {"threshold": {"string_value": "0.5"}},
            },
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_configs_to_the_byte(case: str) -> None:
    repository = built(*CASES[case])
    assert repository.configs
    for name, text in repository.configs.items():
        path = FOLDER / f"{case}.{name}.pbtxt"
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text)
        assert text == path.read_text(), f"{path.name} differs"


@pytest.mark.parametrize("case", CASES)
def test_configs_say_what_was_concluded(case: str) -> None:
    repository = built(*CASES[case])
    left = {entry.document["name"] for entry in CASES[case] if entry.document.get("autoComplete") == "Server"}
    for name, text in repository.configs.items():
        config = text_format.Parse(text, ModelConfig())
        assert config.name == name
        if name not in left:
            assert config == repository.parsed[name]
            assert re.search(r"^max_batch_size: \d+$", text, flags=re.MULTILINE)


def test_no_golden_file_is_left_over() -> None:
    made = {f"{case}.{name}.pbtxt" for case, entries in CASES.items() for name in built(*entries).configs}
    assert sorted(made) == sorted(path.name for path in FOLDER.glob("*.pbtxt"))


def test_order_of_models_in_the_spec_changes_no_config() -> None:
    entries = CASES["ocr"]
    assert built(*reversed(entries)).configs == built(*entries).configs
