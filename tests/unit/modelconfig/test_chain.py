"""Chains: joined by names, and steps to paste where names do not tell."""

from __future__ import annotations

import yaml

from ensembles_api.spec import Ensemble
from tests.unit.modelconfig.repository import (
    CLASSIFIER,
    DECODER,
    IMAGE,
    LOGITS,
    built,
    chain,
    classifier,
    decoder,
    fault_of,
    io,
    miswired,
    model,
    python,
    tensor,
)

F = "FP32"


def suggestion(message: str) -> Ensemble:
    """The steps in a fault's message, read as the API reads them."""
    text = message[message.index("steps:") :]
    return Ensemble.model_validate(yaml.safe_load(text))


def test_the_single_leftover_pair_is_joined() -> None:
    config = built(decoder(), classifier(), chain("e", "preprocess", "classifier")).parsed["e"]
    first, second = config.ensemble_scheduling.step
    assert dict(first.input_map) == {"DALI_INPUT_0": "DALI_INPUT_0"}
    assert dict(first.output_map) == {"DALI_OUTPUT_0": "preprocess/DALI_OUTPUT_0"}
    assert dict(second.input_map) == {"input": "preprocess/DALI_OUTPUT_0"}
    assert dict(second.output_map) == {"logits": "logits"}
    assert {step.model_version for step in config.ensemble_scheduling.step} == {-1}


def test_inputs_that_resemble_outputs_are_no_slip_of_the_pen() -> None:
    first = python("first", [tensor("INPUT_0", F, 1)], [tensor("OUTPUT_0", F, 2)])
    last = python("last", [tensor("INPUT_0", F, 2)], [tensor("OUTPUT_0", "STRING", 1)])
    found = built(first, last, chain("e", "first", "last"))
    first_step, last_step = found.parsed["e"].ensemble_scheduling.step
    assert dict(first_step.input_map) == {"INPUT_0": "INPUT_0"}
    assert dict(last_step.input_map) == {"INPUT_0": "first/OUTPUT_0"}
    assert not found.warnings


def test_equal_names_come_first() -> None:
    left = python("left", [tensor("i", F, 1)], [tensor("a", F, 1), tensor("b", F, 2), tensor("rest", F, 3)])
    right = python("right", [tensor("b", F, 2), tensor("a", F, 1), tensor("x", F, 3)], [tensor("o", F, 1)])
    config = built(left, right, chain("e", "left", "right")).parsed["e"]
    assert dict(config.ensemble_scheduling.step[1].input_map) == {
        "a": "left/a",
        "b": "left/b",
        "x": "left/rest",
    }


def test_names_reach_past_the_model_before() -> None:
    first = python("first", [tensor("i", F, 1)], [tensor("size", "INT64", 2), tensor("image", F, 3)])
    second = python("second", [tensor("image", F, 3)], [tensor("boxes", F, 4)])
    third = python("third", [tensor("boxes", F, 4), tensor("size", "INT64", 2)], [tensor("o", F, 1)])
    config = built(first, second, third, chain("e", "first", "second", "third")).parsed["e"]
    assert dict(config.ensemble_scheduling.step[2].input_map) == {
        "boxes": "second/boxes",
        "size": "first/size",
    }


def test_the_nearest_of_several_equal_names_counts() -> None:
    relu = python("relu", [tensor("x", F, 1)], [tensor("x", F, 1)])
    end = python("end", [tensor("x", F, 1)], [tensor("y", F, 1)])
    config = built(relu, end, chain("e", "relu", "relu", "end")).parsed["e"]
    inputs = [dict(step.input_map) for step in config.ensemble_scheduling.step]
    assert inputs == [{"x": "x"}, {"x": "relu/x"}, {"x": "relu:1/x"}]


def test_equal_names_of_inputs_are_no_join() -> None:
    first = python("first", [tensor("input", F, 1)], [tensor("output", F, 1)])
    second = python("second", [tensor("input", F, 1)], [tensor("result", F, 1)])
    config = built(first, second, chain("e", "first", "second")).parsed["e"]
    assert dict(config.ensemble_scheduling.step[1].input_map) == {"input": "first/output"}


def test_unneeded_outputs_between_are_left_out() -> None:
    left = python("left", [tensor("i", F, 1)], [tensor("x", F, 1), tensor("unused", F, 2)])
    right = python("right", [tensor("x", F, 1)], [tensor("o", F, 1), tensor("p", F, 1)])
    config = built(left, right, chain("e", "left", "right")).parsed["e"]
    assert dict(config.ensemble_scheduling.step[0].output_map) == {"x": "left/x"}
    assert [item.name for item in config.output] == ["o", "p"]


def test_except_of_dali() -> None:
    two = io(DECODER.inputs, [tensor("input", F, 3, 224, 224), tensor("SHAPE", "INT64", 3)])
    config = built(decoder(tensors=two), classifier(), chain("e", "preprocess", "classifier")).parsed["e"]
    assert [item.name for item in config.output] == ["SHAPE", "logits"]


def test_optional_inputs_wait_for_nobody() -> None:
    right = python("right", [tensor("x", F, 1), tensor("k", F, 1, optional=True)], [tensor("o", F, 1)])
    left = python("left", [tensor("i", F, 1), tensor("j", F, 1, optional=True)], [tensor("y", F, 1)])
    config = built(left, right, chain("e", "left", "right")).parsed["e"]
    assert dict(config.ensemble_scheduling.step[1].input_map) == {"x": "left/y"}
    assert [(item.name, item.optional) for item in config.input] == [("i", False), ("j", True)]


def test_a_chain_of_one() -> None:
    config = built(classifier(), chain("e", "classifier")).parsed["e"]
    assert [item.name for item in (*config.input, *config.output)] == ["input", "logits"]


def test_several_leftovers_give_steps_to_paste() -> None:
    left = python("left", [tensor("i", F, 1)], [tensor("a", F, 1), tensor("b", F, 2)])
    right = python("right", [tensor("x", F, 1), tensor("y", F, 2)], [tensor("o", F, 1)])
    fault = fault_of(left, right, chain("e", "left", "right"))
    miswired(
        fault,
        "spec.models[2].ensemble.chain[1]",
        "how left and right are joined",
        "inputs of right without an output of that name: x FP32[1] and y FP32[2]",
        "unused outputs of left: a FP32[1] and b FP32[2]",
        "Replace chain by steps",
    )
    proposed = suggestion(fault.message)
    assert proposed.steps is not None
    assert [step.model for step in proposed.steps] == ["left", "right"]
    assert [link.from_ for link in proposed.steps[1].inputs] == ["CHOOSE", "CHOOSE"]
    assert [link.to for link in proposed.steps[0].outputs] == ["left/a", "left/b"]


def test_the_steps_work_once_corrected() -> None:
    left = python("y", [tensor("on", F, 1)], [tensor("a", F, 1), tensor("b", F, 2)])
    right = python("right", [tensor("x", F, 1), tensor("n", F, 2)], [tensor("o", F, 1)])
    message = fault_of(left, right, chain("e", "y", "right")).message
    corrected = message[message.index("steps:") :].replace("CHOOSE", "y/a", 1).replace("CHOOSE", "y/b", 1)
    entry = chain("e")
    document = {"name": "e", "ensemble": yaml.safe_load(corrected)}
    config = built(left, right, type(entry)(document)).parsed["e"]
    assert dict(config.ensemble_scheduling.step[1].input_map) == {"x": "y/a", "n": "y/b"}


def test_a_model_that_reads_nothing_of_the_one_before() -> None:
    far = python("far", [tensor("i", F, 1)], [tensor("x", F, 1)])
    middle = python("middle", [tensor("x", F, 1)], [tensor("m", F, 1)])
    last = python("last", [tensor("x", F, 1)], [tensor("o", F, 1)])
    fault = fault_of(far, middle, last, chain("e", "far", "middle", "last"))
    miswired(fault, "spec.models[3].ensemble.chain[2]", "last reads nothing of middle")


def test_ends_of_one_name() -> None:
    same = model("onnxruntime", "same", io([IMAGE], [tensor("input", F, 3, 224, 224)]))
    fault = fault_of(same, chain("e", "same"))
    miswired(fault, "spec.models[1].ensemble.chain[0]", "input would be both an input and an output")
    proposed = suggestion(fault.message)
    assert proposed.steps is not None
    assert proposed.steps[0].outputs[0].to == "input_out"


def test_types_are_checked_after_joining() -> None:
    half = io([tensor("input", "FP16", 3, 224, 224)], [LOGITS])
    fault = fault_of(decoder(), classifier(tensors=half), chain("e", "preprocess", "classifier"))
    miswired(
        fault,
        "spec.models[2].ensemble.chain[1]",
        "expects FP16[3,224,224]",
        "preprocess/DALI_OUTPUT_0",
        "gives FP32",
    )


def test_unknown_model() -> None:
    fault = fault_of(decoder(), classifier(), chain("e", "preproces", "classifier"))
    miswired(fault, "spec.models[2].ensemble.chain[0]", "no model preproces", "did you mean preprocess?")


def test_tensors_left_to_the_server() -> None:
    left = model("python", "left", autoComplete="Server")
    fault = fault_of(classifier(tensors=CLASSIFIER), left, chain("e", "classifier", "left"))
    miswired(fault, "spec.models[2].ensemble.chain[1]", "tensors of left", "steps")
