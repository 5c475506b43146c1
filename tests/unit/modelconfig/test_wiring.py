"""An ensemble's graph: what fits together, and what is said where it does not."""

from __future__ import annotations

import pytest

from tests.unit.modelconfig.repository import (
    CLASSIFIER,
    GOOD,
    built,
    chain,
    classifier,
    decoder,
    fault_of,
    io,
    miswired,
    model,
    python,
    refused,
    step,
    steps,
    tensor,
    wired,
)


class TestGraph:
    def test_inputs_and_outputs_follow_from_the_steps(self) -> None:
        config = built(*wired(*GOOD)).parsed["e"]
        assert [(t.name, list(t.dims)) for t in (*config.input, *config.output)] == [
            ("INPUT", [-1]),
            ("OUTPUT", [1000]),
        ]
        assert config.max_batch_size == 4
        assert config.platform == "ensemble"
        assert not config.backend
        assert not config.input[0].allow_ragged_batch

    def test_steps_may_stand_in_any_order(self) -> None:
        config = built(*wired(*reversed(GOOD))).parsed["e"]
        assert [item.model_name for item in config.ensemble_scheduling.step] == ["classifier", "preprocess"]
        assert [t.name for t in config.input] == ["INPUT"]

    def test_fork_and_join(self) -> None:
        models = (
            python("split", [tensor("x", "FP32", 4)], [tensor("y", "FP32", 4)]),
            python("join", [tensor("a", "FP32", 4), tensor("b", "FP32", 4)], [tensor("c", "FP32", 1)]),
        )
        config = built(
            *models,
            steps(
                "e",
                step("split", {"x": "in"}, {"y": "one"}),
                step("split", {"x": "one"}, {"y": "two"}),
                step("join", {"a": "one", "b": "two"}, {"c": "out"}),
            ),
        ).parsed["e"]
        assert [t.name for t in (*config.input, *config.output)] == ["in", "out"]

    def test_one_tensor_may_feed_several_inputs_of_a_step(self) -> None:
        join = python("join", [tensor("a", "FP32", 4), tensor("b", "FP32", -1)], [tensor("c", "FP32", 1)])
        config = built(join, steps("e", step("join", {"a": "x", "b": "x"}, {"c": "out"}))).parsed["e"]
        assert [(t.name, list(t.dims)) for t in config.input] == [("x", [4])]

    def test_any_tensor_name(self) -> None:
        odd = python(
            "m", [tensor("y", "FP32", 1), tensor("on/off:0", "FP32", 1)], [tensor('q"\\ü', "FP32", 1)]
        )
        text = built(odd, steps("e", step("m", {"y": "n", "on/off:0": "a b"}, {'q"\\ü': "true"}))).configs[
            "e"
        ]
        assert r'key: "q\"\\ü"' in text

    def test_unneeded_outputs_of_other_models_are_left_out(self) -> None:
        two = io(CLASSIFIER.inputs, [*CLASSIFIER.outputs, tensor("features", "FP32", 512)])
        config = built(
            classifier(tensors=two), steps("e", step("classifier", {"input": "x"}, {"logits": "y"}))
        ).parsed["e"]
        assert [t.name for t in config.output] == ["y"]

    def test_optional_inputs_may_be_left_out_or_become_optional_inputs(self) -> None:
        post = python(
            "p", [tensor("x", "FP32", 4), tensor("k", "INT32", 1, optional=True)], [tensor("y", "FP32", 1)]
        )
        assert [
            t.name for t in built(post, steps("e", step("p", {"x": "a"}, {"y": "b"}))).parsed["e"].input
        ] == ["a"]
        config = built(post, steps("e", step("p", {"x": "a", "k": "top"}, {"y": "b"}))).parsed["e"]
        assert [(t.name, t.optional) for t in config.input] == [("a", False), ("top", True)]

    def test_an_input_is_optional_only_if_nobody_needs_it(self) -> None:
        soft = python("soft", [tensor("x", "FP32", 4, optional=True)], [tensor("y", "FP32", 1)])
        hard = python("hard", [tensor("x", "FP32", 4)], [tensor("y", "FP32", 1)])
        config = built(
            soft, hard, steps("e", step("soft", {"x": "a"}, {"y": "b"}), step("hard", {"x": "a"}, {"y": "c"}))
        ).parsed["e"]
        assert not config.input[0].optional


E = "spec.models[2].ensemble"


class TestMistakes:
    def test_unknown_model(self) -> None:
        fault = fault_of(*wired(GOOD[0], step("clasifier", {"input": "image"}, {"logits": "o"})))
        miswired(fault, f"{E}.steps[1].model", "no model clasifier", "did you mean classifier?")

    def test_itself(self) -> None:
        fault = fault_of(*wired(step("e", {"x": "y"}, {"z": "w"})))
        miswired(fault, f"{E}.steps[0].model", "ensemble e cannot call itself")

    def test_unknown_input(self) -> None:
        fault = fault_of(*wired(GOOD[0], step("classifier", {"inptu": "image"}, {"logits": "o"})))
        miswired(
            fault,
            f"{E}.steps[1].inputs[0]",
            "steps[1] (classifier)",
            "classifier has no input inptu",
            "input FP32[3,224,224]",
            "did you mean input?",
        )

    def test_unknown_output(self) -> None:
        fault = fault_of(*wired(GOOD[0], step("classifier", {"input": "image"}, {"logit": "o"})))
        miswired(fault, f"{E}.steps[1].outputs[0]", "no output logit", "logits FP32[1000]")

    def test_required_input_left_out(self) -> None:
        two = io([*CLASSIFIER.inputs, tensor("mask", "INT64", 128)], CLASSIFIER.outputs)
        fault = fault_of(*wired(*GOOD, models=(decoder(), classifier(tensors=two))))
        miswired(
            fault,
            f"{E}.steps[1].inputs",
            "input mask INT64[128] of classifier is not fed",
            '{name: "mask", from: <tensor>}',
        )

    @pytest.mark.parametrize("side", ["inputs", "outputs"])
    def test_mapped_twice(self, side: str) -> None:
        second = step("classifier", {"input": "image"}, {"logits": "OUTPUT"})
        key = "from" if side == "inputs" else "to"
        second[side] = [second[side][0], {**second[side][0], key: "another"}]
        miswired(
            fault_of(*wired(GOOD[0], second)), f"{E}.steps[1].{side}[1]", f"{side[:-1]} ", "mapped twice"
        )

    def test_written_twice(self) -> None:
        fault = fault_of(*wired(GOOD[0], GOOD[0]))
        miswired(
            fault,
            f"{E}.steps[1].outputs[0]",
            "tensor image is written by steps[0] (preprocess) from its output "
            "DALI_OUTPUT_0 and again by steps[1]",
        )

    def test_types_differ(self) -> None:
        half = io([tensor("input", "FP16", 3, 224, 224)], CLASSIFIER.outputs)
        fault = fault_of(*wired(*GOOD, models=(decoder(), classifier(tensors=half))))
        miswired(
            fault,
            f"{E}.steps[1].inputs[0]",
            "tensor image",
            "steps[1] (classifier) expects FP16[3,224,224] as input input",
            "steps[0] (preprocess) gives FP32[3,224,224] as output DALI_OUTPUT_0",
        )

    def test_shapes_differ(self) -> None:
        small = io([tensor("input", "FP32", 3, 112, 112)], CLASSIFIER.outputs)
        fault = fault_of(*wired(*GOOD, models=(decoder(), classifier(tensors=small))))
        miswired(fault, f"{E}.steps[1].inputs[0]", "expects FP32[3,112,112]", "gives FP32[3,224,224]")

    def test_ranks_differ(self) -> None:
        flat = io([tensor("input", "FP32", 150528)], CLASSIFIER.outputs)
        fault = fault_of(*wired(*GOOD, models=(decoder(), classifier(tensors=flat))))
        miswired(fault, f"{E}.steps[1].inputs[0]", "FP32[150528]", "FP32[3,224,224]")

    def test_free_sizes_fit_all(self) -> None:
        free = io([tensor("input", "FP32", 3, -1, -1)], CLASSIFIER.outputs)
        built(*wired(*GOOD, models=(decoder(), classifier(tensors=free))))

    def test_readers_of_an_input_disagree(self) -> None:
        other = python("other", [tensor("z", "INT8", 3)], [tensor("w", "FP32", 1)])
        fault = fault_of(
            classifier(),
            other,
            steps(
                "e",
                step("classifier", {"input": "a"}, {"logits": "b"}),
                step("other", {"z": "a"}, {"w": "c"}),
            ),
        )
        miswired(
            fault,
            f"{E}.steps[1].inputs[0]",
            "tensor a is an input of the ensemble",
            "expects INT8[3] as input z",
            "steps[0] (classifier) expects FP32[",
            "as input input",
            "feed them from two tensors",
        )

    def test_circle(self) -> None:
        loop = python("loop", [tensor("a", "FP32", 1), tensor("b", "FP32", 1)], [tensor("c", "FP32", 1)])
        fault = fault_of(
            loop,
            steps(
                "e",
                step("loop", {"a": "x", "b": "z"}, {"c": "y"}),
                step("loop", {"a": "x", "b": "y"}, {"c": "z"}),
            ),
        )
        miswired(
            fault,
            "spec.models[1].ensemble.steps[0].inputs[1]",
            "in a circle",
            "steps[0] (loop) reads z of steps[1] (loop)",
            "steps[1] (loop) reads y of steps[0] (loop)",
        )

    def test_circle_of_one(self) -> None:
        loop = python("loop", [tensor("a", "FP32", 1)], [tensor("c", "FP32", 1)])
        fault = fault_of(loop, steps("e", step("loop", {"a": "x"}, {"c": "x"})))
        miswired(
            fault, "spec.models[1].ensemble.steps[0].inputs[0]", "steps[0] (loop) reads x of steps[0] (loop)"
        )

    def test_a_slip_of_the_pen_is_warned_of(self) -> None:
        repository = built(*wired(GOOD[0], step("classifier", {"input": "imgae"}, {"logits": "OUTPUT"})))
        assert any(
            "steps[1].inputs[0]: no step writes imgae FP32[3,224,224]" in note
            and "did you mean image?" in note
            for note in repository.warnings
        )


class TestUnknownTensors:
    """What tritonserver completes cannot be checked; the ends of an ensemble must be known all the same."""

    LEFT = model("python", "left", autoComplete="Server")
    ITEMS = (step("left", {"x": "a"}, {"y": "b"}),)

    def test_ends_must_be_stated(self) -> None:
        fault = fault_of(self.LEFT, steps("e", *self.ITEMS, maxBatchSize=0))
        miswired(fault, "spec.models[1].config.input", "input a of e", 'name: "a"')

    def test_and_are_taken_as_stated(self) -> None:
        stated = {
            "input": [{"name": "a", "data_type": "TYPE_FP32", "dims": [2]}],
            "output": [{"name": "b", "data_type": "TYPE_FP32", "dims": [2]}],
        }
        config = built(self.LEFT, steps("e", *self.ITEMS, config=stated, maxBatchSize=0)).parsed["e"]
        assert [list(t.dims) for t in (*config.input, *config.output)] == [[2], [2]]

    def test_inside_nothing_need_be_known(self) -> None:
        post = python("post", [tensor("x", "FP32", 1000)], [tensor("label", "STRING", 1)])
        pre = python("pre", [tensor("x", "FP32", 1000)], [tensor("y", "FP32", 3)])
        items = (
            step("pre", {"x": "i"}, {"y": "p"}),
            step("left", {"x": "p"}, {"y": "q"}),
            step("post", {"x": "q"}, {"label": "o"}),
        )
        config = built(pre, self.LEFT, post, steps("e", *items, maxBatchSize=0)).parsed["e"]
        assert [t.name for t in (*config.input, *config.output)] == ["i", "o"]

    def test_an_onnx_model_left_to_the_server_is_known_all_the_same(self) -> None:
        left = classifier(autoComplete="Server")
        repository = built(decoder(), left, steps("e", *GOOD))
        assert repository.parsed["e"].max_batch_size == 4
        assert "classifier" not in repository.configs


class TestPartial:
    """Artifacts that are not built yet: what can be checked is, the rest is left out."""

    EARLY = decoder(tensors=None)

    def test_configs_that_need_them_are_left_out(self) -> None:
        repository = built(self.EARLY, classifier(), steps("e", *GOOD), partial=True)
        assert list(repository.configs) == list(repository.parsed) == ["classifier"]
        assert repository.entrypoint == "e"

    def test_names_of_models_and_of_known_tensors_are_checked(self) -> None:
        items = (GOOD[0], step("classifier", {"inptu": "image"}, {"logits": "o"}))
        miswired(
            fault_of(self.EARLY, classifier(), steps("e", *items), partial=True),
            f"{E}.steps[1].inputs[0]",
            "inptu",
        )
        fault = fault_of(self.EARLY, classifier(), chain("e", "preprocess", "clasifier"), partial=True)
        miswired(fault, f"{E}.chain[1]", "clasifier")

    def test_stated_tensors_count(self) -> None:
        stated = {"output": [{"name": "IMAGE", "data_type": "TYPE_FP32", "dims": [3, 64, 64]}]}
        items = (step("preprocess", {"DALI_INPUT_0": "i"}, {"IMAGE": "image"}), GOOD[1])
        fault = fault_of(decoder(tensors=None, config=stated), classifier(), steps("e", *items), partial=True)
        miswired(fault, f"{E}.steps[1].inputs[0]", "gives FP32[3,64,64]")

    def test_circles_are_found(self) -> None:
        late = model("dali", "late")
        items = (step("late", {"a": "x"}, {"b": "y"}), step("late", {"a": "y"}, {"b": "x"}))
        fault = fault_of(late, steps("e", *items), partial=True)
        miswired(fault, "spec.models[1].ensemble.steps[0].inputs[0]", "circle")

    def test_chains_wait(self) -> None:
        repository = built(self.EARLY, classifier(), chain("e", "preprocess", "classifier"), partial=True)
        assert "e" not in repository.configs

    def test_ensembles_of_ensembles_wait(self) -> None:
        outer = steps("outer", step("e", {"INPUT": "i"}, {"OUTPUT": "o"}))
        assert "outer" not in built(self.EARLY, classifier(), steps("e", *GOOD), outer, partial=True).configs

    def test_the_batch_size_of_an_engine_waits_but_not_its_shapes(self) -> None:
        early = model("tensorrt", "net", CLASSIFIER)
        items = (step("net", {"input": "x"}, {"logits": "y"}),)
        entries = (early, steps("e", *items, maxBatchSize=64))
        assert built(*entries, partial=True).parsed["e"].max_batch_size == 64
        assert not built(early, steps("e", *items), partial=True).parsed
        small = io([tensor("DALI_INPUT_0", "UINT8", -1)], [tensor("DALI_OUTPUT_0", "FP32", 3, 8, 8)])
        fault = fault_of(decoder(tensors=small), early, chain("e", "preprocess", "net"), partial=True)
        miswired(fault, f"{E}.chain[1]", "expects FP32[3,224,224]", "gives FP32[3,8,8]")
        assert built(*entries[:1]).parsed["net"].max_batch_size == 1

    def test_not_when_all_is_said_to_be_there(self) -> None:
        fault = fault_of(self.EARLY, classifier(), steps("e", *GOOD))
        refused(fault, "spec.models[0].config.input", "kind dali")
