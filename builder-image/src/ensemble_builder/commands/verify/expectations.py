"""What a user's case says of an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble_builder.commands.verify.inference import Answer
from ensemble_builder.commands.verify.requests import Array
from ensembles_api.contract import SampleTensor
from ensembles_api.verification import Expected, ExpectedClass, ExpectedValue

SHOWN = 60
"""Characters of a string that a message quotes."""


def unmet(
    expected: Expected,
    answers: Sequence[Answer],
    *,
    batch: int | None,
    load: Callable[[SampleTensor], Array],
) -> Iterator[str]:
    """Why an expectation is not met, with figures; nothing where it is.

    Args:
        expected: what the output must be like.
        answers: every response; a decoupled model may give several.
        batch: leading axis of the request, None where the model does not batch.
        load: reads a golden value.
    """
    name = expected.output
    wanted = [expected.response] if expected.response is not None else range(len(answers))
    having = [(at, answers[at][name][1]) for at in wanted if at < len(answers) and name in answers[at]]
    if not having:
        which = "" if expected.response is None else f" in response {expected.response}"
        yield f"output {name!r} is missing{which}; there were {len(answers)} responses"
    for at, value in having:
        where = f"response {at}, output {name!r}" if len(answers) > 1 else f"output {name!r}"
        yield from (f"{where}: {text}" for text in _unlike(expected, value, batch, load))


def _unlike(
    expected: Expected, value: Array, batch: int | None, load: Callable[[SampleTensor], Array]
) -> Iterator[str]:
    if expected.top_k:
        yield from _ranks(expected.top_k, value, batch)
    elif expected.value:
        yield from _differences(expected.value, value, load(expected.value.tensor))
    else:
        yield from _outside(value, expected.minimum, expected.maximum)


def _ranks(wanted: ExpectedClass, value: Array, batch: int | None) -> Iterator[str]:
    rows = _numbers(value).reshape(value.shape[0] if batch is not None and value.ndim else 1, -1)
    known = [index for index in wanted.indices if index < rows.shape[1]]
    if not known:
        yield f"it has {rows.shape[1]} classes, and class {wanted.indices[0]} is expected"
        return
    for number, row in enumerate(rows):
        best = known[int(np.argmax(row[known]))]
        rank = 1 + int(np.sum(row > row[best]))
        if rank <= wanted.k and not np.isnan(row[best]):
            continue
        first = int(np.argmax(row))
        name = f"{wanted.label!r} (class {best})" if wanted.label else f"class {best}"
        yield (
            f"row {number}: {name} comes {_nth(rank)} with {row[best]:.4g}, and top {wanted.k} is expected; "
            f"the first is class {first} with {row[first]:.4g}"
        )


def _differences(wanted: ExpectedValue, value: Array, golden: Array) -> Iterator[str]:
    if value.shape != golden.shape:
        yield f"its shape is {list(value.shape)}, and the golden value's {list(golden.shape)}"
    elif np.object_ in (value.dtype, golden.dtype) or not (wanted.rtol or wanted.atol):
        bad = np.argwhere(value != golden)
        if len(bad):
            at = tuple(int(axis) for axis in bad[0])
            yield (
                f"{len(bad)} of {value.size} values differ from the golden ones, the first at {list(at)}: "
                f"{_shown(value[at])} instead of {_shown(golden[at])}"
            )
    else:
        yield from _not_close(wanted, _numbers(value), _numbers(golden))


def _not_close(
    wanted: ExpectedValue, value: NDArray[np.float64], golden: NDArray[np.float64]
) -> Iterator[str]:
    # Infinities that are the same are equal; what is no number is close to nothing.
    with np.errstate(invalid="ignore"):
        difference = np.where(value == golden, 0.0, np.abs(value - golden))
    bad = ~(difference <= wanted.atol + wanted.rtol * np.abs(golden))
    if not bad.any():
        return
    worst = np.unravel_index(int(np.argmax(np.where(np.isnan(difference), np.inf, difference))), value.shape)
    yield (
        f"{int(bad.sum())} of {value.size} values differ from the golden ones by more than atol "
        f"{wanted.atol:g} + rtol {wanted.rtol:g}, the most at {[int(axis) for axis in worst]}: "
        f"{value[worst]:.6g} instead of {golden[worst]:.6g}"
    )


def _outside(value: Array, minimum: float | None, maximum: float | None) -> Iterator[str]:
    numbers = _numbers(value)
    low = -np.inf if minimum is None else minimum
    high = np.inf if maximum is None else maximum
    bad = np.argwhere(~((numbers >= low) & (numbers <= high)))
    if len(bad):
        at = tuple(int(axis) for axis in bad[0])
        yield (
            f"{len(bad)} of {value.size} values lie outside of {low:g} to {high:g}, the first at {list(at)}: "
            f"{numbers[at]:.6g}"
        )


def _numbers(value: Array) -> NDArray[np.float64]:
    return value.astype(np.float64)


def _shown(value: object) -> str:
    text = repr(value.decode(errors="replace")) if isinstance(value, bytes) else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _nth(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in {11, 12, 13} else ending}"
