"""Optimisation profiles: made from the batch size, or the user's, held against the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ensemble_builder.compilers.tensorrt.profiles import NetworkTensor, Plan, Wanted, plan
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason
from ensembles_api.spec import Profile

FIELD = "spec.models[1].tensorrt"
X = NetworkTensor("x", (-1, 3, 16, 16))
Y = NetworkTensor("y", (-1, 4))
SIZE = NetworkTensor("size", (2,), is_shape_tensor=True)


def planned(
    inputs: Sequence[NetworkTensor] = (X,),
    *profiles: dict[str, Any],
    batch: int | None = None,
    best: int | None = None,
) -> Plan:
    wanted = Wanted(
        profiles=tuple(Profile.model_validate(profile) for profile in profiles),
        max_batch_size=batch,
        opt_batch_size=best,
        field=FIELD,
        model_field="spec.models[1]",
    )
    return plan(wanted, inputs, [Y])


def refused(*arguments: Any, **options: Any) -> Fault:
    with pytest.raises(FaultError) as caught:
        planned(*arguments, **options)
    return caught.value.fault


def entry(low: list[int], best: list[int], high: list[int], name: str = "x") -> dict[str, Any]:
    return {"name": name, "min": low, "opt": best, "max": high}


def shapes(*batches: int) -> dict[str, Any]:
    low, best, high = ([batch, 3, 16, 16] for batch in batches)
    return {"shapes": [entry(low, best, high)]}


def test_the_server_uses_the_profile_that_fits_a_batch() -> None:
    assert planned([X], shapes(1, 1, 2), shapes(1, 4, 8)).limit == 8


def test_outputs_whose_size_hangs_on_values_get_a_profile_of_fixed_inputs() -> None:
    """TensorRT 8.6 builds an engine without one, and cannot run it (seen on an H200)."""
    found = planned([NetworkTensor("x", (4, 16))])
    assert [(each.min, each.opt, each.max) for each in found.ranges[0]] == [([4, 16],) * 3]
    assert found.limit == 0


def test_a_default_profile_is_best_at_the_batch_stated() -> None:
    (made,) = planned(batch=8, best=2).ranges
    assert [bound[0] for bound in (made[0].min, made[0].opt, made[0].max)] == [1, 2, 8]


@pytest.mark.parametrize(
    ("arguments", "options", "field", "words"),
    [
        (
            ([NetworkTensor("x", (-1, 3, -1, -1))],),
            {},
            ".profiles",
            "'x' has free axes (2, 3) besides the batch",
        ),
        ((), {"batch": 2, "best": 3}, ".optBatchSize", "largest batch, 2"),
        (
            ([X], {"shapes": [entry([1], [1], [1], "X")]}),
            {},
            ".profiles[0].shapes[0].name",
            "no input 'X'; it has x",
        ),
        (([X], shapes(1, 1, 1), shapes(1, 4, 2)), {}, ".profiles[1].shapes[0].opt", "'x' goes 1, 4, 2"),
        (([X], shapes(4, 4, 2)), {}, ".profiles[0].shapes[0].min", "min ≤ opt ≤ max"),
        (
            ([X], {"shapes": [entry([1, 3, 16, 16], [1, 3, 32, 16], [4, 3, 32, 16])]}),
            {},
            ".profiles[0].shapes[0].opt",
            "does not fit 'x'",
        ),
        (([X], shapes(2, 2, 4)), {}, ".profiles[0].shapes[0].min", "set it to 1"),
        (([X], shapes(1, 2, 4)), {"batch": 8}, ".profiles", "no profile reaches maxBatchSize 8"),
        (([X, SIZE],), {}, ".profiles", "values: [{name: size, min: [1, 1], opt: …, max: …}]"),
        (
            ([X, SIZE], {"values": [entry([4, 1], [2, 1], [8, 1], "size")]}),
            {},
            ".profiles[0].shapes",
            "'x', shape [-1, 3, 16, 16], needs an entry",
        ),
        (
            ([SIZE], {"values": [entry([1, 4], [1, 2], [1, 8], "size")]}),
            {},
            ".profiles[0].values[0].opt",
            "value 1 of 'size' goes 4, 2, 8",
        ),
        (
            ([SIZE], {"values": [entry([1], [2], [8], "size")]}),
            {},
            ".profiles[0].values[0]",
            "'size' holds 2 values, 1 are stated",
        ),
        (
            ([X, SIZE], {**shapes(1, 2, 4), "values": [entry([2, 1], [2, 1], [4, 1], "size")]}),
            {"batch": 4},
            ".profiles[0].values[0].min",
            "the first value of 'size' is the batch",
        ),
        (
            ([SIZE], {"values": [entry([1], [2], [8])]}),
            {},
            ".profiles[0].values[0].name",
            "'x' is no input whose value decides shapes; of those the model has size",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    arguments: tuple[Any, ...], options: dict[str, Any], field: str, words: str
) -> None:
    fault = refused(*arguments, **options)

    assert (fault.code, fault.field) == (Reason.INVALID_SPEC, FIELD + field)
    assert words in fault.message


def test_a_shape_tensor_without_room_for_the_batch_cannot_batch() -> None:
    fault = refused([X, NetworkTensor("size", (1,), is_shape_tensor=True)], batch=4)

    assert (fault.code, fault.field) == (Reason.INVALID_MODEL, "spec.models[1].maxBatchSize")
    assert "has room for one" in fault.message


def test_a_tensor_stands_in_a_profile_once() -> None:
    twice = {"shapes": shapes(1, 2, 4)["shapes"] * 2}
    fault = refused([X], twice)
    assert (fault.field, "twice" in fault.message) == (f"{FIELD}.profiles[0].shapes[1].name", True)

    values = [{"name": "size", "min": [1, 1], "opt": [1, 1], "max": [4, 4]}] * 2
    fault = refused([X, SIZE], {**shapes(1, 2, 4), "values": values})
    assert fault.field == f"{FIELD}.profiles[0].values[1].name"
