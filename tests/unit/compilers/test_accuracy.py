"""What an engine's answers are judged by."""

from __future__ import annotations

import numpy as np
import pytest

from ensemble_builder.compilers.tensorrt.accuracy import Limit, Tolerances, compare, overall, tells_apart
from ensemble_builder.compilers.tensorrt.number_types import from_stored, to_stored
from ensembles_api.contract import ProofVerdict
from ensembles_api.spec import Precision

L2 = Limit("relativeL2", 0.02)
AGREEMENT = Limit("agreement", 0.9)
ONES = np.ones((4, 10), np.float32)
LABELS = np.arange(10)


@pytest.mark.parametrize(
    ("expected", "found", "limit", "verdict", "value"),
    [
        (ONES, ONES * 1.01, L2, "Passed", 0.01),
        (ONES * 1000, ONES * 1010, L2, "Passed", 0.01),
        (ONES, ONES * 1.03, L2, "Failed", 0.03),
        (ONES, ONES.astype(np.float16), L2, "Passed", 0.0),
        (ONES, np.where(ONES > 0, np.nan, 0), L2, "Failed", None),
        (ONES * np.inf, ONES, L2, "Inconclusive", None),
        (ONES * 0, ONES * 0, L2, "Inconclusive", None),
        (ONES * 0, ONES, L2, "Failed", None),
        (ONES[:, :0], ONES[:, :0], L2, "Inconclusive", None),
        (LABELS, np.where(LABELS == 3, 0, LABELS), AGREEMENT, "Passed", 0.9),
        (LABELS, LABELS[::-1], AGREEMENT, "Failed", 0.0),
        (np.ones((100, 4)), np.ones((98, 4)), L2, "Inconclusive", None),
        (np.ones((100, 4)), np.ones((0, 4)), L2, "Failed", None),
    ],
)
def test_an_output_is_judged(
    expected: np.ndarray, found: np.ndarray, limit: Limit, verdict: ProofVerdict, value: float | None
) -> None:
    result = compare("y", expected, found, limit)

    assert result.verdict == verdict
    assert result.value == (None if value is None else pytest.approx(value, rel=1e-3))
    assert result.note or value is not None, "without a figure there is a reason"


def test_tolerances_are_the_precisions_the_models_or_the_outputs() -> None:
    floats, integers = np.dtype(np.float32), np.dtype(np.int64)
    default = Tolerances(Precision.FP32)
    own = Tolerances(Precision.FP16, relative_l2=0.5, outputs={"mask": Limit("agreement", 0.7)})

    assert default.limit("y", floats) == Limit("relativeL2", 0.001)
    assert Tolerances(Precision.INT8).limit("y", floats) == Limit("relativeL2", 0.1)
    assert default.limit("y", integers) == Limit("agreement", 0.99)
    assert Tolerances(Precision.INT8).limit("y", integers) == Limit("agreement", 0.95)
    assert own.limit("y", floats) == Limit("relativeL2", 0.5)
    assert own.limit("mask", floats) == Limit("agreement", 0.7)


def test_the_worst_decides() -> None:
    assert overall(["Passed", "Inconclusive", "Passed"]) == "Inconclusive"
    assert overall(["Failed", "Inconclusive"]) == "Failed"
    assert overall([]) == "Skipped"


def test_a_reference_that_never_changes_tells_nothing() -> None:
    answer = {"y": ONES[0], "label": np.array(3)}

    assert not tells_apart([answer, {name: values.copy() for name, values in answer.items()}])
    assert tells_apart([answer, {**answer, "label": np.array(4)}])
    assert tells_apart([answer])


def test_bfloat16_is_rounded_to_the_nearest() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, -3.0e38, np.inf], np.float32)

    again = from_stored(to_stored(values, "BF16"), "BF16")

    assert again.tolist() == [1.0, 1.0, 1.015625, pytest.approx(-3.0e38, rel=4e-3), np.inf]
    assert again.dtype == np.float32


@pytest.mark.parametrize("type_name", ["FLOAT", "INT64", "BF16"])
def test_a_scalar_stays_one(type_name: str) -> None:
    stored = to_stored(np.array(3), type_name)
    again = from_stored(stored, type_name)

    assert isinstance(stored, np.ndarray)
    assert isinstance(again, np.ndarray)
    assert (stored.shape, again.shape, float(again)) == ((), (), 3.0)
