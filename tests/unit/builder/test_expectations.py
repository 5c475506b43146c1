"""What a case says of an answer: met, or not met with figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble_builder.commands.verify.expectations import unmet
from ensemble_builder.commands.verify.latency import Measured, measure
from ensemble_builder.commands.verify.requests import Array
from ensembles_api.contract import SampleTensor
from ensembles_api.verification import Expected, ExpectedClass, ExpectedValue, LatencyBound

SAMPLE = SampleTensor(name="y", data_type="TYPE_FP32", shape=(1, 3), file="samples/x")


def f32(values: list[Any]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


ROW = f32([[0.1, 0.7, 0.2]])


def judged(expected: Expected, *values: object, golden: object = None, batch: int | None = 1) -> list[str]:
    answers = [{"y": ("FP32", np.asarray(value))} for value in values]
    loaded: Array = np.asarray(golden)
    return list(unmet(expected, answers, batch=batch, load=lambda _: loaded))


def top(k: int, *indices: int, label: str = "") -> Expected:
    return Expected(output="y", top_k=ExpectedClass(k=k, indices=indices, label=label))


def close(rtol: float = 0.0, atol: float = 0.0) -> Expected:
    return Expected(output="y", value=ExpectedValue(tensor=SAMPLE, rtol=rtol, atol=atol))


@pytest.mark.parametrize(("k", "indices"), [(1, (1,)), (2, (2,)), (3, (0,)), (1, (0, 1))])
def test_a_class_among_the_largest_meets_it(k: int, indices: tuple[int, ...]) -> None:
    assert judged(top(k, *indices), ROW) == []


def test_a_class_that_is_not_names_its_rank_its_value_and_the_first() -> None:
    (said,) = judged(top(1, 2, label="espresso"), np.vstack([ROW, ROW])[:1])
    assert said == (
        "output 'y': row 0: 'espresso' (class 2) comes 2nd with 0.2, and top 1 is expected; "
        "the first is class 1 with 0.7"
    )


def test_every_row_of_a_batch_is_looked_at() -> None:
    (said,) = judged(top(1, 1), np.vstack([ROW, ROW[:, ::-1], 1 - ROW]), batch=3)
    assert said.startswith("output 'y': row 2: class 1 comes 3rd")


def test_a_class_beyond_the_tensor_is_told() -> None:
    assert judged(top(1, 7), ROW) == ["output 'y': it has 3 classes, and class 7 is expected"]


def test_closeness_is_numpys() -> None:
    golden = np.array([[0.1, 0.71, 0.2]])
    assert judged(close(rtol=0.02), ROW, golden=golden) == []
    (said,) = judged(close(rtol=0.001, atol=0.001), ROW, golden=golden)
    assert said == (
        "output 'y': 1 of 3 values differ from the golden ones by more than atol 0.001 + rtol 0.001, "
        "the most at [0, 1]: 0.7 instead of 0.71"
    )


def test_infinities_may_agree_and_nan_never_does() -> None:
    value = f32([[np.inf, 1, 2]])
    assert judged(close(rtol=0.1), value, golden=value) == []
    (said,) = judged(close(rtol=0.1), f32([[np.nan, 1, 2]]), golden=f32([[np.nan, 1, 2]]))
    assert "1 of 3 values" in said


def test_equality_of_strings_and_shapes() -> None:
    text = np.array([[b"TOTAL"]], dtype=np.object_)
    assert judged(close(), text, golden=text) == []
    (said,) = judged(close(), text, golden=np.array([[b"total"]], dtype=np.object_))
    assert said.endswith("the first at [0, 0]: 'TOTAL' instead of 'total'")
    assert judged(close(), ROW, golden=ROW[0]) == [
        "output 'y': its shape is [1, 3], and the golden value's [3]"
    ]


def test_whole_numbers_are_compared_exactly() -> None:
    large = np.array([2**60])
    assert judged(close(), large + 1, golden=large, batch=None) != []


def test_a_range() -> None:
    bounds = Expected(output="y", minimum=0.15, maximum=1)
    (said,) = judged(bounds, ROW)
    assert said == "output 'y': 1 of 3 values lie outside of 0.15 to 1, the first at [0, 0]: 0.1"
    assert judged(Expected(output="y", maximum=0.7001), ROW) == []


def test_of_several_responses_one_or_all_are_judged() -> None:
    bounds = Expected(output="y", maximum=0.5)
    assert judged(bounds, ROW * 0, ROW) == [
        "response 1, output 'y': 1 of 3 values lie outside of -inf to 0.5, the first at [0, 1]: 0.7"
    ]
    assert judged(bounds.model_copy(update={"response": 0}), ROW * 0, ROW) == []
    (said,) = judged(bounds.model_copy(update={"response": 2}), ROW * 0, ROW)
    assert said == "output 'y' is missing in response 2; there were 2 responses"


def test_latency_tells_both_figures_and_which_bound_they_exceed() -> None:
    asked: list[int] = []
    found = measure(lambda: asked.append(1), LatencyBound(requests=7, p50_milliseconds=1000))
    assert (len(asked), found.requests) == (7, 7)
    assert found.p50 <= found.p99
    slow = Measured(p50=12.34, p99=80.0, requests=20)
    assert list(slow.exceeded(LatencyBound(requests=20, p50_milliseconds=12, p99_milliseconds=80))) == [
        "p50 of 20 requests is 12.3 ms, and 12 ms is expected"
    ]
