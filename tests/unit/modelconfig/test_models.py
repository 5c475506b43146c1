"""Configs of single models: what the user states, laid over what the server would conclude."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.modelconfig.repository import (
    CLASSIFIER,
    classifier,
    config_of,
    decoder,
    fault_of,
    io,
    refused,
    tensor,
)

FIXED = io([tensor("x", "FP32", 1, 8)], [tensor("y", "FP32", 1, 2)], batchable=False)


class TestStatedTensors:
    """What is stated and contradicts the model is an error that says what the model has."""

    @pytest.mark.parametrize(
        ("key", "entry", "path", "parts"),
        [
            (
                "input",
                {"name": "inptu"},
                "input[0].name",
                ["no tensor inptu", "input FP32[3,224,224]", "did you mean input?"],
            ),
            ("output", {"name": "input"}, "output[0].name", ["no tensor input", "logits FP32[1000]"]),
            (
                "input",
                {"name": "input", "data_type": "TYPE_FP16"},
                "input[0].data_type",
                ["FP32[3,224,224]", "TYPE_FP16 is stated"],
            ),
            (
                "input",
                {"name": "input", "dims": [3, 256, 256]},
                "input[0].dims",
                ["FP32[3,224,224]", "[3, 256, 256]"],
            ),
            (
                "input",
                {"name": "input", "dims": [-1, 3, 224, 224]},
                "input[0].dims",
                ["leave the batch axis out"],
            ),
            ("input", {"name": "input", "dims": [3, -1, -1]}, "input[0].dims", ["FP32[3,224,224]"]),
            (
                "input",
                {"name": "input", "reshape": {"shape": [1, 3, 224, 224]}},
                "input[0].reshape.shape",
                ["FP32[3,224,224]"],
            ),
            ("input", {"dims": [3]}, "input[0]", ["state the tensor's name"]),
        ],
    )
    def test_contradictions(self, key: str, entry: dict[str, Any], path: str, parts: list[str]) -> None:
        refused(fault_of(classifier(config={key: [entry]})), f"spec.models[0].config.{path}", *parts)

    def test_a_name_twice(self) -> None:
        fault = fault_of(classifier(config={"input": [{"name": "input"}, {"name": "input"}]}))
        refused(fault, "spec.models[0].config.input[1].name", "twice")

    def test_merges_by_name_and_keeps_the_models_order(self) -> None:
        tensors = io([tensor("a", "FP32", 1), tensor("b", "FP32", 2)], CLASSIFIER.outputs)
        config = config_of(classifier(tensors=tensors, config={"input": [{"name": "b", "optional": True}]}))
        assert [(i.name, i.optional, list(i.dims)) for i in config.input] == [
            ("a", False, [1]),
            ("b", True, [2]),
        ]

    def test_a_size_may_be_pinned(self) -> None:
        free = io([tensor("x", "FP32", 3, -1, -1)], CLASSIFIER.outputs)
        config = config_of(classifier(tensors=free, config={"input": [{"name": "x", "dims": [3, 32, 32]}]}))
        assert list(config.input[0].dims) == [3, 32, 32]

    def test_reshape_lets_clients_see_another_shape(self) -> None:
        entry = {"name": "input", "dims": [150528], "reshape": {"shape": [3, 224, 224]}}
        config = config_of(classifier(config={"input": [entry]}))
        assert list(config.input[0].dims) == [150528]

    def test_reshape_must_keep_the_number_of_elements(self) -> None:
        entry = {"name": "input", "dims": [5], "reshape": {"shape": [3, 224, 224]}}
        refused(
            fault_of(classifier(config={"input": [entry]})),
            "spec.models[0].config.input[0].reshape",
            "different",
        )

    def test_sequence_controls_and_state_are_no_inputs(self) -> None:
        tensors = io(
            [tensor("x", "FP32", 4), tensor("START", "FP32", 1), tensor("s_in", "FP32", 2)],
            [tensor("y", "FP32", 4), tensor("s_out", "FP32", 2)],
        )
        start = {"name": "START", "control": [{"kind": "CONTROL_SEQUENCE_START", "fp32_false_true": [0, 1]}]}
        state = {"input_name": "s_in", "output_name": "s_out", "data_type": "TYPE_FP32", "dims": [2]}
        config = config_of(
            classifier(
                tensors=tensors, config={"sequence_batching": {"control_input": [start], "state": [state]}}
            )
        )
        assert [tensor.name for tensor in (*config.input, *config.output)] == ["x", "y"]

    def test_batch_inputs_are_no_inputs_and_ragged_dims_are_not_compared(self) -> None:
        tensors = io([tensor("ids", "INT64"), tensor("lengths", "FP32")], [tensor("y", "FP32", 2)])
        stated = {
            "input": [{"name": "ids", "dims": [-1], "allow_ragged_batch": True, "reshape": None}],
            "batch_input": [
                {
                    "kind": "BATCH_ELEMENT_COUNT",
                    "target_name": ["lengths"],
                    "data_type": "TYPE_FP32",
                    "source_input": ["ids"],
                }
            ],
        }
        config = config_of(classifier(tensors=tensors, maxBatchSize=8, config=stated))
        assert [(i.name, list(i.dims)) for i in config.input] == [("ids", [-1])]


class TestBatchSize:
    def test_needs_a_free_first_axis(self) -> None:
        fault = fault_of(classifier(tensors=FIXED, maxBatchSize=8))
        refused(fault, "spec.models[0].maxBatchSize", "re-export with a dynamic first axis")

    def test_stated_in_the_config(self) -> None:
        assert config_of(classifier(config={"max_batch_size": 2})).max_batch_size == 2
        fault = fault_of(classifier(tensors=FIXED, config={"max_batch_size": 8}))
        refused(fault, "spec.models[0].config.max_batch_size", "dynamic first axis")

    def test_stated_twice(self) -> None:
        assert config_of(classifier(maxBatchSize=2, config={"max_batch_size": 2})).max_batch_size == 2
        fault = fault_of(classifier(maxBatchSize=2, config={"max_batch_size": 4}))
        refused(fault, "spec.models[0].config.max_batch_size", "is 4", "is 2", "remove one")


class TestMerging:
    def test_messages_are_merged_by_field_and_maps_by_key(self) -> None:
        config = config_of(
            decoder(
                config={
                    "dynamic_batching": {"preferred_batch_size": [16]},
                    "parameters": {"mine": {"string_value": "x"}},
                    "optimization": {"cuda": {"graphs": True}},
                }
            )
        )
        assert list(config.dynamic_batching.preferred_batch_size) == [16]
        assert {key: value.string_value for key, value in config.parameters.items()} == {
            "num_threads": "4",
            "mine": "x",
        }
        assert config.optimization.cuda.graphs

    def test_the_name_is_the_models(self) -> None:
        assert config_of(classifier(config={"name": "classifier"})).name == "classifier"
        refused(
            fault_of(classifier(config={"name": "other"})),
            "spec.models[0].config.name",
            "classifier",
            "remove it",
        )

    def test_the_backend_is_the_kinds(self) -> None:
        refused(
            fault_of(classifier(config={"backend": "python"})),
            "spec.models[0].config.backend",
            "has backend onnxruntime",
        )
        refused(
            fault_of(decoder(config={"platform": "x"})), "spec.models[0].config.platform", "has platform none"
        )

    def test_only_ensembles_have_steps(self) -> None:
        fault = fault_of(classifier(config={"ensemble_scheduling": {"step": []}}))
        refused(fault, "spec.models[0].config.ensemble_scheduling", "models of their own")

    def test_labels(self) -> None:
        config = config_of(classifier(more={"label_files": {"logits": "labels.txt"}}))
        assert config.output[0].label_filename == "labels.txt"
        fault = fault_of(classifier(more={"label_files": {"logit": "labels.txt"}}))
        refused(fault, "spec.models[0].labels[0].output", "no output logit", "did you mean logits?")
        stated = {"output": [{"name": "logits", "label_filename": "mine.txt"}]}
        fault = fault_of(classifier(config=stated, more={"label_files": {"logits": "labels.txt"}}))
        refused(fault, "spec.models[0].labels[0].output", "mine.txt")


@pytest.mark.parametrize(
    ("stated", "path", "part"),
    [
        ({"input": [{"name": "input", "dims": [3, 0, 224]}]}, "input[0].dims", "[3, 0, 224] is stated"),
        (
            {"dynamic_batching": {"preferred_batch_size": [5]}},
            "dynamic_batching.preferred_batch_size",
            "max_batch_size (4)",
        ),
        (
            {"dynamic_batching": {"priority_levels": 2}},
            "dynamic_batching.default_priority_level",
            "1 to priority_levels (2)",
        ),
        ({"max_batch_size": -1}, "max_batch_size", "0 (no batching) or more"),
        ({"instance_group": [{"kind": "KIND_CPU", "gpus": [0]}]}, "instance_group[0].gpus", "KIND_CPU"),
        ({"instance_group": [{"profile": ["0"]}]}, "instance_group[0].profile", "TensorRT"),
        (
            {"sequence_batching": {}, "response_cache": {"enable": True}},
            "response_cache",
            "sequence batching",
        ),
        ({"input": [{"name": "input", "is_shape_tensor": True}]}, "input[0].is_shape_tensor", "TensorRT"),
        (
            {"output": [{"name": "logits", "is_non_linear_format_io": True}]},
            "output[0].is_non_linear_format_io",
            "TensorRT",
        ),
        ({"batch_output": [{"source_input": ["nix"]}]}, "batch_output[0].source_input", "no input nix"),
    ],
)
def test_what_the_server_would_refuse(stated: dict[str, Any], path: str, part: str) -> None:
    refused(fault_of(classifier(config=stated)), f"spec.models[0].config.{path}", part)


def test_sizes_of_zero_in_a_model() -> None:
    fault = fault_of(classifier(tensors=io([tensor("x", "FP32", 0, 3)], CLASSIFIER.outputs)))
    refused(fault, "spec.models[0].config.input[0].dims", "x has a size of 0")
