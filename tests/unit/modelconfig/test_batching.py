"""Batch sizes of ensembles, and shapes where some members batch and others do not."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from tests.unit.modelconfig.repository import (
    Entry,
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
)

NET = model("onnxruntime", "net", io([tensor("x", "FP32", 8)], [tensor("y", "FP32", 4)]), maxBatchSize=16)


def shapes(config: ModelConfig) -> list[list[int]]:
    return [list(item.dims) for item in (*config.input, *config.output)]


def after(name: str, *dims: int, out: tuple[int, ...] = (1,), **document: Any) -> Entry:
    return python(name, [tensor("y", "FP32", *dims)], [tensor("z", "FP32", *out)], **document)


def test_the_least_of_the_batching_members() -> None:
    config = built(
        decoder(maxBatchSize=64), classifier(maxBatchSize=8), chain("e", "preprocess", "classifier")
    ).parsed["e"]
    assert config.max_batch_size == 8


@pytest.mark.parametrize("stated", [{"maxBatchSize": 2}, {"config": {"max_batch_size": 2}}])
def test_may_be_stated(stated: dict[str, Any]) -> None:
    assert built(NET, chain("e", "net", **stated)).parsed["e"].max_batch_size == 2


def test_may_not_exceed_a_members() -> None:
    fault = fault_of(NET, chain("e", "net", maxBatchSize=32))
    miswired(
        fault, "spec.models[1].maxBatchSize", "is 32", "steps[0] (net) of e allows batches of at most 16"
    )
    fault = fault_of(NET, chain("e", "net", config={"max_batch_size": 32}))
    miswired(fault, "spec.models[1].config.max_batch_size", "is 32")


def test_stated_twice() -> None:
    fault = fault_of(NET, chain("e", "net", maxBatchSize=2, config={"max_batch_size": 4}))
    refused(fault, "spec.models[1].config.max_batch_size", "remove one")


def test_none_without_batching_members() -> None:
    config = built(after("post", 4), chain("e", "post")).parsed["e"]
    assert config.max_batch_size == 0
    assert shapes(config) == [[4], [1]]


def test_a_member_that_batches_by_its_own_first_axis_takes_part() -> None:
    repository = built(NET, after("post", -1, 4, out=(-1, 2)), chain("e", "net", "post"))
    assert repository.parsed["e"].max_batch_size == 16
    assert shapes(repository.parsed["e"]) == [[8], [2]]
    assert repository.warnings == ()


def test_a_member_of_single_items_prevents_batching() -> None:
    repository = built(NET, after("post", 4, out=(2,)), chain("e", "net", "post"))
    assert repository.parsed["e"].max_batch_size == 0
    assert shapes(repository.parsed["e"]) == [[8], [2]]
    (warning,) = repository.warnings
    assert (
        "ensemble e does not batch, because steps[1] (post) takes or gives single items (FP32[4] as y)"
        in warning
    )


def test_a_free_axis_shared_with_the_batching_model_is_no_batch_axis() -> None:
    free = model(
        "onnxruntime", "net", io([tensor("x", "FP32", 8)], [tensor("y", "FP32", -1, 4)]), maxBatchSize=16
    )
    repository = built(free, after("post", -1, 4, out=(-1, 2)), chain("e", "net", "post"))
    assert repository.parsed["e"].max_batch_size == 0


def test_batches_where_the_user_insists() -> None:
    repository = built(NET, after("post", 4, out=(2,)), chain("e", "net", "post", maxBatchSize=16))
    config = repository.parsed["e"]
    assert config.max_batch_size == 16
    assert shapes(config) == [[8], [2]]
    (warning,) = repository.warnings
    assert warning.startswith("spec.models[2].maxBatchSize: batches of more than 1 will fail")
    assert not built(NET, after("post", 4, out=(2,)), chain("e", "net", "post", maxBatchSize=1)).warnings


def test_a_fixed_first_axis_does_not_fit_a_batching_model() -> None:
    fault = fault_of(NET, after("post", 1, 1, 4), chain("e", "net", "post"))
    miswired(
        fault,
        "spec.models[2].ensemble.chain[1]",
        "expects FP32[1,1,4] as input y",
        "gives FP32[-1,4] (batch axis included)",
    )


def test_without_batching_an_input_of_both_kinds_keeps_its_batch_axis() -> None:
    other = python("other", [tensor("y", "FP32", -1, 8)], [tensor("z", "FP32", -1, 1)])
    items = (step("net", {"x": "i"}, {"y": "a"}), step("other", {"y": "i"}, {"z": "b"}))
    assert shapes(built(NET, other, steps("e", *items, maxBatchSize=0)).parsed["e"]) == [
        [-1, 8],
        [4],
        [-1, 1],
    ]
    assert shapes(built(NET, other, steps("e", *items)).parsed["e"]) == [[8], [4], [1]]


def test_sizes_come_from_whoever_knows_them() -> None:
    loose = python("loose", [tensor("a", "FP32", -1, 4)], [tensor("b", "FP32", 1)])
    strict = python("strict", [tensor("a", "FP32", 3, -1)], [tensor("b", "FP32", 1)])
    items = (step("loose", {"a": "i"}, {"b": "x"}), step("strict", {"a": "i"}, {"b": "y"}))
    assert shapes(built(loose, strict, steps("e", *items)).parsed["e"])[0] == [3, 4]


def test_scalars_per_sample_keep_the_shape_that_clients_see() -> None:
    scalar = model("onnxruntime", "net", io([tensor("x", "FP32")], [tensor("y", "FP32")]), maxBatchSize=2)
    assert shapes(built(scalar, chain("e", "net")).parsed["e"]) == [[1], [1]]


def test_no_shape_for_all_readers() -> None:
    batched = python("batched", [tensor("a", "FP32", -1)], [tensor("b", "FP32", 1)], maxBatchSize=2)
    flat = python("flat", [tensor("a", "FP32", -1)], [tensor("b", "FP32", 1)])
    square = python("square", [tensor("a", "FP32", -1, 4)], [tensor("b", "FP32", 1)])
    items = [step(name, {"a": "i"}, {"b": name}) for name in ("batched", "flat", "square")]
    fault = fault_of(batched, flat, square, steps("e", *items, maxBatchSize=0))
    miswired(
        fault,
        "spec.models[3].ensemble.steps[2].inputs[0]",
        "tensor i: no shape suits all",
        "steps[0] (batched) expects FP32[-1,-1] as a, steps[1] (flat) expects FP32[-1] as a",
    )
