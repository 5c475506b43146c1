"""An ensemble's own config: outputs, settings and limits that follow from its models."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.modelconfig.repository import (
    CLASSIFIER,
    DECODER,
    GOOD,
    TWO,
    built,
    chain,
    classifier,
    decoder,
    fault_of,
    io,
    miswired,
    python,
    refused,
    step,
    steps,
    tensor,
    wired,
)


class TestDali:
    BOTH = io(DECODER.inputs, [*DECODER.outputs, tensor("SHAPE", "INT64", 3)])

    def test_an_output_without_consumer_becomes_an_output_of_the_ensemble(self) -> None:
        repository = built(*wired(*GOOD, models=(decoder(tensors=self.BOTH), classifier())))
        config = repository.parsed["e"]
        assert [t.name for t in config.output] == ["SHAPE", "OUTPUT"]
        assert config.ensemble_scheduling.step[0].output_map["SHAPE"] == "SHAPE"
        assert any(
            "SHAPE of the DALI model preprocess has no consumer" in note for note in repository.warnings
        )

    def test_under_another_name_where_its_own_is_taken(self) -> None:
        taken = (GOOD[0], step("classifier", {"input": "image"}, {"logits": "SHAPE"}))
        config = built(*wired(*taken, models=(decoder(tensors=self.BOTH), classifier()))).parsed["e"]
        assert [t.name for t in config.output] == ["preprocess/SHAPE", "SHAPE"]

    def test_is_an_error_where_outputs_are_stated(self) -> None:
        stated = {"output": [{"name": "OUTPUT"}]}
        fault = fault_of(*wired(*GOOD, models=(decoder(tensors=self.BOTH), classifier()), config=stated))
        miswired(
            fault,
            f"{E}.steps[0].outputs",
            "output SHAPE of the DALI pipeline",
            "drop it from the pipeline's return",
        )

    def test_unless_they_name_it(self) -> None:
        stated = {"output": [{"name": "OUTPUT"}, {"name": "SHAPE"}]}
        config = built(
            *wired(*GOOD, models=(decoder(tensors=self.BOTH), classifier()), config=stated)
        ).parsed["e"]
        assert [t.name for t in config.output] == ["OUTPUT", "SHAPE"]


E = "spec.models[2].ensemble"


class TestOwnConfig:
    def test_intermediate_tensors_may_be_outputs_too(self) -> None:
        config = built(*wired(*GOOD, config={"output": [{"name": "image"}, {"name": "OUTPUT"}]})).parsed["e"]
        assert [(t.name, list(t.dims)) for t in config.output] == [
            ("image", [3, 224, 224]),
            ("OUTPUT", [1000]),
        ]

    def test_a_tensor_neither_read_nor_stated_is_unused(self) -> None:
        two = io(CLASSIFIER.inputs, [*CLASSIFIER.outputs, tensor("features", "FP32", 512)])
        items = (GOOD[0], step("classifier", {"input": "image"}, {"logits": "OUTPUT", "features": "f"}))
        fault = fault_of(
            *wired(
                *items, models=(decoder(), classifier(tensors=two)), config={"output": [{"name": "OUTPUT"}]}
            )
        )
        miswired(
            fault,
            f"{E}.steps[1].outputs[1]",
            "tensor f, output features of steps[1] (classifier)",
            "drop this mapping",
        )

    @pytest.mark.parametrize(
        ("key", "problem"), [("input", "no step reads it"), ("output", "no step writes it")]
    )
    def test_tensors_must_exist(self, key: str, problem: str) -> None:
        fault = fault_of(*wired(*GOOD, config={key: [{"name": "OTUPUT" if key == "output" else "INPTU"}]}))
        miswired(fault, f"spec.models[2].config.{key}[0].name", problem, "did you mean")

    def test_stated_types_and_shapes_must_fit(self) -> None:
        stated = {"input": [{"name": "INPUT", "data_type": "TYPE_FP32"}]}
        fault = fault_of(*wired(*GOOD, config=stated))
        refused(
            fault,
            "spec.models[2].config.input[0]",
            "INPUT is stated as FP32[-1]",
            "steps[0] (preprocess) has UINT8[-1]",
        )
        built(
            *wired(
                *GOOD,
                config={"output": [{"name": "OUTPUT", "dims": [10, 100], "reshape": {"shape": [1000]}}]},
            )
        )
        fault = fault_of(*wired(*GOOD, config={"output": [{"name": "OUTPUT", "dims": [10]}]}))
        refused(fault, "spec.models[2].config.output[0]", "FP32[10]", "FP32[1000]")

    def test_ragged_is_kept_with_a_warning(self) -> None:
        repository = built(*wired(*GOOD, config={"input": [{"name": "INPUT", "allow_ragged_batch": True}]}))
        assert repository.parsed["e"].input[0].allow_ragged_batch
        assert any("allow_ragged_batch has no effect" in note for note in repository.warnings)

    def test_steps_are_not_stated_in_the_config(self) -> None:
        fault = fault_of(*wired(*GOOD, config={"ensemble_scheduling": {"step": []}}))
        refused(fault, "spec.models[2].config.ensemble_scheduling.step", "ensemble.steps")

    def test_other_scheduling_fields_are(self) -> None:
        config = built(*wired(*GOOD, config={"ensemble_scheduling": {"max_inflight_requests": 3}})).parsed[
            "e"
        ]
        assert config.ensemble_scheduling.max_inflight_requests == 3
        assert len(config.ensemble_scheduling.step) == 2

    @pytest.mark.parametrize(
        ("stated", "path"),
        [
            ({"instance_group": [{"count": 2}]}, "instance_group"),
            ({"dynamic_batching": {}}, "dynamic_batching"),
            ({"model_warmup": []}, "model_warmup"),
            ({"optimization": {}}, "optimization"),
            ({"backend": "python"}, "backend"),
            ({"platform": "onnxruntime_onnx"}, "platform"),
            ({"name": "other"}, "name"),
        ],
    )
    def test_what_only_members_have(self, stated: dict[str, Any], path: str) -> None:
        refused(fault_of(*wired(*GOOD, config=stated)), f"spec.models[2].config.{path}", "")

    def test_labels(self) -> None:
        entries = (*TWO, steps("e", *GOOD, more={"label_files": {"OUTPUT": "l.txt"}}))
        assert built(*entries).parsed["e"].output[0].label_filename == "l.txt"
        fault = fault_of(*TWO, steps("e", *GOOD, more={"label_files": {"logits": "l.txt"}}))
        refused(fault, "spec.models[2].labels[0].output", "no output logits", "OUTPUT")


class TestDecoupled:
    MANY = python(
        "many",
        [tensor("x", "FP32", 1)],
        [tensor("y", "FP32", 1)],
        config={"model_transaction_policy": {"decoupled": True}},
    )
    PAIR = python("pair", [tensor("a", "FP32", 1), tensor("b", "FP32", 1)], [tensor("c", "FP32", 1)])

    def test_is_not_printed_because_the_server_concludes_it(self) -> None:
        text = built(self.MANY, steps("e", step("many", {"x": "i"}, {"y": "o"}))).configs["e"]
        assert "decoupled" not in text

    def test_responses_cannot_be_paired_with_a_request(self) -> None:
        items = (step("many", {"x": "i"}, {"y": "m"}), step("pair", {"a": "m", "b": "j"}, {"c": "o"}))
        fault = fault_of(self.MANY, self.PAIR, steps("e", *items))
        miswired(
            fault,
            f"{E}.steps[1].inputs[1]",
            "steps[1] (pair) reads both m, which comes through the decoupled steps[0] (many),",
            "j, which comes straight from the request",
        )

    def test_nor_can_outputs(self) -> None:
        items = (step("many", {"x": "i"}, {"y": "m"}), step("many", {"x": "i"}, {"y": "n"}))
        fault = fault_of(self.MANY, steps("e", *items))
        miswired(
            fault, "spec.models[1].ensemble.steps[1].outputs[0]", "e returns both m, which", "(many), and n"
        )

    def test_nor_through_a_nested_ensemble(self) -> None:
        inner = steps("inner", step("many", {"x": "i"}, {"y": "o"}))
        items = (step("inner", {"i": "i"}, {"o": "m"}), step("pair", {"a": "m", "b": "j"}, {"c": "o"}))
        miswired(
            fault_of(self.MANY, self.PAIR, inner, steps("e", *items)),
            "spec.models[3].ensemble.steps[1].inputs[1]",
            "decoupled",
        )


class TestNested:
    INNER = steps("inner", *GOOD)

    def test_an_ensemble_is_a_model(self) -> None:
        post = python("post", [tensor("x", "FP32", 1000)], [tensor("label", "STRING", 1)], maxBatchSize=16)
        outer = steps(
            "outer",
            step("inner", {"INPUT": "jpeg"}, {"OUTPUT": "l"}),
            step("post", {"x": "l"}, {"label": "label"}),
        )
        repository = built(outer, self.INNER, post, *TWO)
        config = repository.parsed["outer"]
        assert config.max_batch_size == 4
        assert [(t.name, list(t.dims)) for t in (*config.input, *config.output)] == [
            ("jpeg", [-1]),
            ("label", [1]),
        ]
        assert repository.entrypoint == "inner"
        assert list(repository.configs) == ["outer", "inner", "post", "preprocess", "classifier"]

    def test_circle_of_ensembles(self) -> None:
        fault = fault_of(
            steps("a", step("b", {"x": "i"}, {"y": "o"})),
            steps("b", step("c", {"x": "i"}, {"y": "o"})),
            steps("c", step("a", {"x": "i"}, {"y": "o"})),
        )
        miswired(fault, "spec.models[0].ensemble", "a -> b -> c -> a")

    def test_chain_of_ensembles(self) -> None:
        config = built(*TWO, self.INNER, chain("outer", "inner")).parsed["outer"]
        assert [t.name for t in (*config.input, *config.output)] == ["INPUT", "OUTPUT"]
