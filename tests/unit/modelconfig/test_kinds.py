"""Configs of single models, by kind: what the server would conclude of an artifact."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc.model_config_pb2 import DataType

from ensembles_api.contract import Tensor
from tests.unit.modelconfig.repository import (
    DECODER,
    SOURCE,
    built,
    classifier,
    config_of,
    decoder,
    fault_of,
    io,
    model,
    python,
    refused,
    tensor,
)

FIXED = io([tensor("x", "FP32", 1, 8)], [tensor("y", "FP32", 1, 2)], batchable=False)
PLAN = io([tensor("input", "FP32", 3, -1, -1)], [tensor("logits", "FP32", 1000)], max_batch_size=32)


class TestOnnxRuntime:
    def test_concludes_what_the_server_would(self) -> None:
        config = config_of(classifier())
        assert (config.backend, config.platform, config.max_batch_size) == (
            "onnxruntime",
            "onnxruntime_onnx",
            4,
        )
        assert config.HasField("dynamic_batching")
        assert list(config.input[0].dims) == [3, 224, 224]
        assert not config.input[0].allow_ragged_batch

    def test_does_not_batch_what_cannot(self) -> None:
        config = config_of(classifier(tensors=FIXED))
        assert config.max_batch_size == 0
        assert not config.HasField("dynamic_batching")
        assert list(config.input[0].dims) == [1, 8]

    def test_keeps_the_free_axis_of_a_batchable_model_told_not_to_batch(self) -> None:
        config = config_of(classifier(maxBatchSize=0))
        assert not config.HasField("dynamic_batching")
        assert list(config.input[0].dims) == [-1, 3, 224, 224]
        assert list(config.output[0].dims) == [-1, 1000]

    def test_batch_of_one_needs_no_scheduler(self) -> None:
        assert not config_of(classifier(maxBatchSize=1)).HasField("dynamic_batching")

    def test_declared_adds_no_scheduler(self) -> None:
        config = config_of(classifier(autoComplete="Declared"))
        assert not config.HasField("dynamic_batching")
        assert config.max_batch_size == 4
        assert config.input

    def test_another_scheduler_takes_the_place(self) -> None:
        config = config_of(classifier(config={"sequence_batching": {}}))
        assert config.WhichOneof("scheduling_choice") == "sequence_batching"

    def test_scalars_per_sample_are_reshaped(self) -> None:
        config = config_of(classifier(tensors=io([tensor("x", "INT64")], [tensor("y", "FP32", 2)])))
        assert list(config.input[0].dims) == [1]
        assert config.input[0].HasField("reshape")
        assert list(config.input[0].reshape.shape) == []

    def test_scalars_of_a_model_that_does_not_batch_are_not(self) -> None:
        config = config_of(
            classifier(tensors=io([tensor("x", "INT64")], [tensor("y", "FP32", 2)], batchable=False))
        )
        assert list(config.input[0].dims) == [1]
        assert not config.input[0].HasField("reshape")


class TestDali:
    def test_concludes_what_the_backend_would(self) -> None:
        config = config_of(decoder(part={"threads": 6}))
        assert (config.backend, config.platform, config.max_batch_size) == ("dali", "", 64)
        assert config.HasField("dynamic_batching")
        assert config.input[0].allow_ragged_batch
        assert config.parameters["num_threads"].string_value == "6"

    def test_ragged_batches_can_be_refused(self) -> None:
        config = config_of(decoder(config={"input": [{"name": "DALI_INPUT_0", "allow_ragged_batch": False}]}))
        assert not config.input[0].allow_ragged_batch

    def test_stating_something_else_leaves_inputs_ragged(self) -> None:
        config = config_of(decoder(config={"input": [{"name": "DALI_INPUT_0", "dims": [-1]}]}))
        assert config.input[0].allow_ragged_batch

    def test_without_batching_the_sample_axis_is_an_ordinary_one(self) -> None:
        repository = built(decoder(maxBatchSize=0))
        config = repository.parsed["preprocess"]
        assert list(config.output[0].dims) == [-1, 3, 224, 224]
        assert not config.HasField("dynamic_batching")
        assert not config.input[0].allow_ragged_batch
        assert "\nmax_batch_size: 0\n" in repository.configs["preprocess"]

    def test_outputs_are_renamed_by_order(self) -> None:
        tensors = io(
            DECODER.inputs, [tensor("DALI_OUTPUT_0", "FP32", 3, 8, 8), tensor("DALI_OUTPUT_1", "INT64", 2)]
        )
        config = config_of(decoder(tensors=tensors, config={"output": [{"name": "IMAGE"}]}))
        assert [output.name for output in config.output] == ["IMAGE", "DALI_OUTPUT_1"]
        assert list(config.output[0].dims) == [3, 8, 8]

    def test_more_outputs_than_the_pipeline_returns(self) -> None:
        fault = fault_of(decoder(config={"output": [{"name": "a"}, {"name": "b"}]}))
        refused(
            fault,
            "spec.models[0].config.output[1].name",
            "returns only 1 output(s)",
            "DALI_OUTPUT_0",
            "remove b",
        )

    def test_the_pipelines_own_batch_size_is_the_default_but_no_limit(self) -> None:
        tensors = DECODER.model_copy(update={"max_batch_size": 8})
        assert config_of(model("dali", "d", tensors)).max_batch_size == 8
        assert config_of(model("dali", "d", tensors, maxBatchSize=128)).max_batch_size == 128

    def test_threads_can_be_stated_in_the_config(self) -> None:
        config = config_of(decoder(config={"parameters": {"num_threads": {"string_value": "2"}}}))
        assert config.parameters["num_threads"].string_value == "2"

    def test_video_answers_decoupled(self) -> None:
        config = config_of(decoder(tensors=DECODER.model_copy(update={"decoupled": True})))
        assert config.model_transaction_policy.decoupled


class TestTensorRT:
    def test_takes_the_engines_batch_size(self) -> None:
        config = config_of(model("tensorrt", "net", PLAN))
        assert (config.backend, config.platform, config.max_batch_size) == ("tensorrt", "tensorrt_plan", 32)
        assert config.HasField("dynamic_batching")
        assert not config.instance_group

    def test_marks_shape_tensors(self) -> None:
        size = Tensor(name="size", data_type="TYPE_INT32", shape=(1,), is_shape_tensor=True)
        config = config_of(model("tensorrt", "net", io([tensor("x", "FP32", 8), size], [], max_batch_size=4)))
        assert [entry.is_shape_tensor for entry in config.input] == [False, True]
        assert list(config.input[1].dims) == [1]

    def test_refuses_more_than_the_engine_takes(self) -> None:
        fault = fault_of(model("tensorrt", "net", PLAN, maxBatchSize=64))
        refused(fault, "spec.models[0].maxBatchSize", "is 64", "at most 32")

    def test_lists_several_profiles(self) -> None:
        config = config_of(model("tensorrt", "net", PLAN.model_copy(update={"profiles": ("0", "1")})))
        assert [list(group.profile) for group in config.instance_group] == [["0", "1"]]

    def test_lists_profiles_in_stated_groups_that_name_none(self) -> None:
        groups = [{"count": 2}, {"profile": ["1"]}]
        plan = PLAN.model_copy(update={"profiles": ("0", "1")})
        config = config_of(model("tensorrt", "net", plan, config={"instance_group": groups}))
        assert [(group.count, list(group.profile)) for group in config.instance_group] == [
            (2, ["0", "1"]),
            (0, ["1"]),
        ]

    def test_engine_of_batch_one_gets_no_scheduler(self) -> None:
        assert not config_of(
            model("tensorrt", "net", PLAN.model_copy(update={"max_batch_size": 1}))
        ).HasField("dynamic_batching")

    def test_needs_a_gpu(self) -> None:
        assert built(model("tensorrt", "net", PLAN)).server.gpu
        refused(
            fault_of(model("tensorrt", "net", PLAN, config={"instance_group": [{"kind": "KIND_CPU"}]})),
            "spec.models[0].config.instance_group[0].kind",
            "KIND_GPU",
        )

    def test_free_sizes_may_stand_for_fixed_ones(self) -> None:
        stated = {"input": [{"name": "input", "dims": [3, -1, -1]}]}
        fixed = io([tensor("input", "FP32", 3, 224, 224)], PLAN.outputs, max_batch_size=8)
        assert list(config_of(model("tensorrt", "net", fixed, config=stated)).input[0].dims) == [3, -1, -1]


class TestPython:
    PRE = python("pre", [tensor("IN", "UINT8", -1)], [tensor("OUT", "FP32", 3)], maxBatchSize=8)

    def test_states_what_the_user_states(self) -> None:
        config = config_of(self.PRE)
        assert (config.backend, config.max_batch_size) == ("python", 8)
        assert not config.HasField("dynamic_batching")

    @pytest.mark.parametrize("missing", ["input", "output"])
    def test_must_state_its_tensors(self, missing: str) -> None:
        both = {key: [{"name": "T", "data_type": "TYPE_FP32", "dims": [1]}] for key in ("input", "output")}
        del both[missing]
        fault = fault_of(model("python", "pre", config=both))
        refused(
            fault,
            f"spec.models[0].config.{missing}",
            f"{missing}: [{{name, data_type, dims}}]",
            "autoComplete: Server",
        )

    def test_must_state_types_and_shapes(self) -> None:
        stated: dict[str, Any] = {
            "input": [{"name": "T", "dims": [1]}],
            "output": [{"name": "O", "data_type": "TYPE_FP32"}],
        }
        refused(
            fault_of(model("python", "p", config=stated)),
            "spec.models[0].config.input[0].data_type",
            "state it",
        )
        stated["input"][0]["data_type"] = "TYPE_FP32"
        refused(
            fault_of(model("python", "p", config=stated)), "spec.models[0].config.output[0].dims", "state it"
        )

    def test_finds_its_environment(self) -> None:
        entry = python(
            "p", [tensor("I", "FP32", 1)], [tensor("O", "FP32", 1)], part={"environment": {"source": SOURCE}}
        )
        parameter = config_of(entry).parameters["EXECUTION_ENV_PATH"]
        assert parameter.string_value == "$$TRITON_MODEL_DIRECTORY/environment.tar.gz"

    def test_never_says_decoupled_false(self) -> None:
        entry = python(
            "p",
            [tensor("I", "FP32", 1)],
            [tensor("O", "FP32", 1)],
            config={"model_transaction_policy": {"decoupled": False}},
        )
        assert "decoupled" not in built(entry).configs["p"]
        assert "decoupled" not in built(self.PRE).configs["pre"]

    def test_left_to_the_server_publishes_only_what_is_stated(self) -> None:
        repository = built(model("python", "p", autoComplete="Server", maxBatchSize=2))
        assert repository.configs["p"] == 'name: "p"\nbackend: "python"\nmax_batch_size: 2\n'
        assert "--disable-auto-complete-config" not in repository.server.args

    def test_left_to_the_server_without_a_word_gets_no_config(self) -> None:
        repository = built(model("python", "p", autoComplete="Server"))
        assert "p" not in repository.configs
        assert repository.parsed["p"].backend == "python"


class TestFiles:
    TEXT = """backend: "fil"
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
"""

    def test_the_given_config_counts(self) -> None:
        config = config_of(model("files", "trees", more={"given_config": self.TEXT}, maxBatchSize=16))
        assert (config.backend, config.max_batch_size, config.name) == ("fil", 16, "trees")
        assert config.input[0].data_type == DataType.Value("TYPE_FP32")

    def test_the_specs_config_is_laid_over_it(self) -> None:
        config = config_of(
            model(
                "files",
                "t",
                more={"given_config": self.TEXT},
                config={"output": [{"name": "y", "dims": [3]}]},
            )
        )
        assert (list(config.output[0].dims), list(config.input[0].dims)) == ([3], [4])

    @pytest.mark.parametrize(
        ("file", "backend", "platform"),
        [
            ("model.onnx", "onnxruntime", "onnxruntime_onnx"),
            ("model.plan", "tensorrt", "tensorrt_plan"),
            ("model.pt", "pytorch", "pytorch_libtorch"),
            ("model.py", "python", ""),
            ("model.xml", "openvino", ""),
        ],
    )
    def test_the_backend_may_follow_from_a_file(self, file: str, backend: str, platform: str) -> None:
        text = self.TEXT.replace('backend: "fil"\n', "")
        config = config_of(model("files", "m", more={"given_config": text, "file_names": (file,)}))
        assert (config.backend, config.platform) == (backend, platform)
        named = f'{text}default_model_filename: "{file}"\n'
        assert config_of(model("files", "m", more={"given_config": named})).backend == backend

    def test_otherwise_it_must_be_stated(self) -> None:
        text = self.TEXT.replace('backend: "fil"\n', "")
        refused(
            fault_of(model("files", "m", more={"given_config": text})),
            "spec.models[0].config.backend",
            "state it",
        )

    def test_an_unreadable_config(self) -> None:
        fault = fault_of(model("files", "m", more={"given_config": "backend: fil"}))
        refused(fault, "spec.models[0]", "config.pbtxt of m cannot be read", "1:")

    def test_a_config_of_another_model(self) -> None:
        fault = fault_of(model("files", "m", more={"given_config": f'name: "n"\n{self.TEXT}'}))
        refused(fault, "spec.models[0]", "names the model n", "folder is m")

    def test_tensors_must_be_known(self) -> None:
        fault = fault_of(model("files", "m", config={"backend": "fil"}))
        refused(fault, "spec.models[0].config.input", "kind files", "autoComplete: Server")
