"""Compares what an engine answers with what its reference answers, output by output.

Numbers are judged by the relative L2 error |engine - reference| / |reference| over the whole tensor: an
absolute bound says nothing where one model's logits reach 100 and another's probabilities 0.01. Integers are
judged by the share of equal values. A reference that cannot tell right from wrong makes the answer
Inconclusive, never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ensembles_api.contract import Document, ProofVerdict
from ensembles_api.spec import Precision

Array: TypeAlias = npt.NDArray[np.generic]
Measure = Literal["relativeL2", "agreement"]

RELATIVE_L2: Mapping[Precision, float] = {
    Precision.FP32: 1e-3,
    Precision.TF32: 2e-2,
    Precision.FP16: 2e-2,
    Precision.BF16: 1e-1,
    Precision.INT8: 1e-1,
    Precision.FP8: 1e-1,
}
"""Healthy fp16 networks measured 3e-4 to 7e-3 against FP32."""
_COARSE = frozenset({Precision.BF16, Precision.INT8, Precision.FP8})
_WORST: tuple[ProofVerdict, ...] = ("Passed", "Skipped", "Inconclusive", "Failed")


@dataclass(frozen=True)
class Limit:
    """relativeL2: the largest error; agreement: the least share of equal numbers."""

    measure: Measure
    value: float


@dataclass(frozen=True)
class Tolerances:
    """What outputs may differ by; None takes the default of the precision. `outputs`: name -> its own."""

    precision: Precision
    relative_l2: float | None = None
    agreement: float | None = None
    outputs: Mapping[str, Limit] = field(default_factory=dict)

    def limit(self, name: str, dtype: np.dtype[np.generic]) -> Limit:
        if name in self.outputs:
            return self.outputs[name]
        if dtype.kind == "f":
            return Limit("relativeL2", self.relative_l2 or RELATIVE_L2[self.precision])
        default = 0.95 if self.precision in _COARSE else 0.99
        return Limit("agreement", default if self.agreement is None else self.agreement)


class Comparison(Document):
    """One output against its reference. `value` is None where there is no number; `note` says why."""

    output: str
    measure: Measure
    limit: float
    verdict: ProofVerdict
    value: float | None = None
    note: str = ""

    @property
    def badness(self) -> tuple[int, float]:
        """Orders comparisons of any measure: how far from the limit."""
        if self.value is None:
            share = 0.0
        elif self.measure == "relativeL2":
            share = self.value / self.limit
        else:
            share = (1 - self.value) / max(1 - self.limit, 1e-9)
        return _WORST.index(self.verdict), share


def compare(name: str, expected: Array, found: Array, limit: Limit) -> Comparison:
    """Judge one output.

    Args:
        name: of the output.
        expected: the reference's answer, any numeric type.
        found: the engine's. Another shape than the reference's is possible only where the values decide it.
        limit: what they may differ by.
    """

    def judged(verdict: ProofVerdict, value: float | None = None, note: str = "") -> Comparison:
        value = None if value is None else float(f"{value:.4g}")
        return Comparison(
            output=name,
            measure=limit.measure,
            limit=limit.value,
            verdict=verdict,
            value=value,
            note=note,
        )

    if expected.shape != found.shape:
        return judged(*_of_other_shape(expected.shape, found.shape))
    if expected.size == 0:
        return judged("Inconclusive", note="the reference is empty")
    if not _is_finite(expected):
        return judged("Inconclusive", note="the reference has numbers that are not finite")
    if not _is_finite(found):
        return judged("Failed", note="the engine gives numbers that are not finite")
    if limit.measure == "agreement":
        share = float(np.mean(expected == found))
        return judged("Passed" if share >= limit.value else "Failed", share)
    norm = _norm(expected)
    if norm == 0:
        same = _norm(found) == 0
        return judged("Inconclusive" if same else "Failed", note="the reference is zero everywhere")
    error = _norm(_wide(found) - _wide(expected)) / norm
    return judged("Passed" if error <= limit.value else "Failed", error)


def incomparable(name: str, limit: Limit) -> Comparison:
    """An output whose first axis is not the batch: what it should be in a large batch is not known."""
    note = "its first axis is not the batch: only small batches are compared"
    return Comparison(
        output=name, measure=limit.measure, limit=limit.value, verdict="Inconclusive", note=note
    )


def _of_other_shape(expected: Sequence[int], found: Sequence[int]) -> tuple[ProofVerdict, float | None, str]:
    """Shapes that hang on values, such as the number of boxes, may differ a little and mean the same."""
    note = f"the shape is {list(found)}, the reference's {list(expected)}"
    few, many = sorted((int(np.prod(expected)), int(np.prod(found))))
    alike = len(expected) == len(found) and few > 0 and few / many >= 0.5  # noqa: PLR2004 - more is no accident
    return ("Inconclusive" if alike else "Failed"), None, note


def _wide(values: Array) -> npt.NDArray[np.float64]:
    return values.astype(np.float64)


def _norm(values: Array) -> float:
    return float(np.linalg.norm(_wide(values).ravel()))


def _is_finite(values: Array) -> bool:
    return values.dtype.kind not in "fc" or bool(np.isfinite(values).all())


def tells_apart(answers: Sequence[Mapping[str, Array]]) -> bool:
    """Whether the reference answers different inputs differently, in any output.

    One that does not (a detector that sees nothing in noise) would be matched by an engine that computes
    nothing as well.
    """
    if len(answers) < 2:  # noqa: PLR2004 - one answer cannot show it; it is compared all the same
        return True
    first, *others = answers
    return any(
        first[name].shape != other[name].shape or not np.array_equal(first[name], other[name])
        for other in others
        for name in first
    )


def overall(verdicts: Iterable[ProofVerdict]) -> ProofVerdict:
    """The worst one; Skipped without any."""
    return max(verdicts, key=_WORST.index, default="Skipped")
