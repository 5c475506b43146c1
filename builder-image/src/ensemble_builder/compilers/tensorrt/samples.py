"""Inputs that an engine is tried with: the user's samples, or random numbers that are the same every time.

A batching engine is tried with at most `ITEMS` different items, repeated up to each batch size: an answer may
not hang on its neighbours or its place in the batch, and the reference needs to compute only the items.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ensemble_builder.compilers.tensorrt.accuracy import Array

ITEMS = 8
"""Different items of a batch."""
SEED = 20_240_501

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Range:
    """What one profile allows an input. `values`: of a shape tensor, whose values are what is bounded."""

    min: Shape
    opt: Shape
    max: Shape
    values: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None = None

    def bound(self, name: str) -> Shape:
        shape: Shape = getattr(self, name)
        return shape

    def bound_values(self, name: str) -> tuple[int, ...] | None:
        return None if self.values is None else self.values[("min", "opt", "max").index(name)]


@dataclass(frozen=True)
class EngineInput:
    """`dtype`: of the numbers that the engine takes. `ranges`: one for each profile."""

    name: str
    dtype: np.dtype[np.generic]
    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class Trial:
    """One run of the engine. `batch`: None without batching. `items`: what is repeated, batch axis first
    where there is one.
    """

    profile: int
    bound: str
    batch: int | None
    items: Mapping[str, Array]
    expected: Mapping[str, Array] | None = None
    """Answers that came with the items."""

    @property
    def count(self) -> int:
        """How many items, where there is a batch axis."""
        return len(next(iter(self.items.values())))

    def inputs(self) -> dict[str, Array]:
        """What the engine is given."""
        if self.batch is None:
            return dict(self.items)
        return {name: repeated(array, self.batch) for name, array in self.items.items()}


def repeated(items: Array, batch: int) -> Array:
    """Items [n, ...] -> [batch, ...], beginning again after the last."""
    return np.ascontiguousarray(items[np.arange(batch) % len(items)])


def seeded(inputs: Sequence[EngineInput], *, batching: bool) -> Iterator[Trial]:
    """Trials with random numbers for every profile's min, opt and max.

    Without a batch axis each is tried with two sets of numbers, so that a constant answer shows.
    """
    for profile, bound, shapes, values in _points(inputs):
        if batching:
            batch = min(shape[0] for shape in shapes.values())
            count = min(ITEMS, max(2, batch))
            items = {
                entry.name: _numbers(entry, (count, *shapes[entry.name][1:]), values.get(entry.name))
                for entry in inputs
            }
            yield Trial(profile, bound, batch, items)
            continue
        for salt in range(2):
            items = {
                entry.name: _numbers(entry, shapes[entry.name], values.get(entry.name), salt)
                for entry in inputs
            }
            yield Trial(profile, bound, None, items)


def _points(
    inputs: Sequence[EngineInput],
) -> Iterator[tuple[int, str, dict[str, Shape], dict[str, tuple[int, ...]]]]:
    """Profile, bound, shapes and values of shape tensors; points that say the same stand once."""
    seen = set()
    for profile in range(len(inputs[0].ranges) if inputs else 0):
        for bound in ("min", "opt", "max"):
            shapes = {entry.name: entry.ranges[profile].bound(bound) for entry in inputs}
            found = {entry.name: entry.ranges[profile].bound_values(bound) for entry in inputs}
            values = {name: value for name, value in found.items() if value is not None}
            point = (profile, tuple(shapes.items()), tuple(values.items()))
            if point not in seen:
                seen.add(point)
                yield profile, bound, shapes, values


def _numbers(entry: EngineInput, shape: Shape, values: tuple[int, ...] | None, salt: int = 0) -> Array:
    """Numbers of the kind that inputs of this type hold: pixels, normalised values, small indices.

    The item i of a batch is the same at every batch size.
    """
    if values is not None:
        return np.asarray(values, entry.dtype).reshape(shape)
    if not shape:
        return _draw(entry, (), 0, salt)
    items = [_draw(entry, shape[1:], index, salt) for index in range(shape[0])]
    return np.stack(items) if items else np.empty(shape, entry.dtype)


def _draw(entry: EngineInput, shape: Shape, index: int, salt: int) -> Array:
    random = np.random.default_rng([SEED, zlib.crc32(entry.name.encode()), index, salt])
    kind = entry.dtype
    if kind.kind == "f":
        return random.standard_normal(shape, np.float32).astype(kind)
    # Where integers are indices, how many there are is unknown: 0 and 1 exist in any table.
    most = 256 if kind == np.uint8 else 2
    return random.integers(0, most, shape).astype(kind)


@dataclass(frozen=True)
class GivenSample:
    """A sample of the user. `inputs`: each with the batch axis of a batching engine; `at`: its field."""

    at: str
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array] = field(default_factory=dict)


class UnfitSampleError(Exception):
    """A sample that no profile takes. The message ends with what would fit."""

    def __init__(self, at: str, message: str) -> None:
        super().__init__(message)
        self.at = at


def given(
    inputs: Sequence[EngineInput], samples: Sequence[GivenSample], *, batching: bool
) -> Iterator[Trial]:
    """Trials with the user's samples, in every profile that takes them; equal shapes go into one batch.

    Every item is in one of them: more than the largest batch, or than `ITEMS`, take several.

    Raises:
        UnfitSampleError: for one that fits no profile.
    """
    groups: dict[tuple[Shape, ...], list[GivenSample]] = {}
    for sample in samples:
        shapes = tuple(sample.inputs[entry.name].shape[1 if batching else 0 :] for entry in inputs)
        groups.setdefault(shapes, []).append(sample)
    for group in groups.values():
        yield from _of_group(inputs, group, batching=batching)


def _of_group(
    inputs: Sequence[EngineInput], group: Sequence[GivenSample], *, batching: bool
) -> Iterator[Trial]:
    fitting = [
        profile
        for profile in range(len(inputs[0].ranges))
        if all(_fits(entry, profile, group[0], batching=batching) for entry in inputs)
    ]
    if not fitting:
        shapes = {entry.name: list(group[0].inputs[entry.name].shape) for entry in inputs}
        raise UnfitSampleError(group[0].at, f"no profile takes inputs of the shapes {shapes}")
    for profile in fitting:
        if not batching:
            for sample in group:
                yield Trial(profile, "sample", None, sample.inputs, sample.outputs or None)
            continue
        items = _joined([sample.inputs for sample in group])
        expected = _joined([sample.outputs for sample in group])
        batches = {
            min(entry.ranges[profile].bound(bound)[0] for entry in inputs): bound
            for bound in ("max", "opt", "min")
        }
        largest = max(batches)
        held = min(ITEMS, largest)
        for start in range(0, len(items[inputs[0].name]), held):
            some, answers = (_part(each, start, held) for each in (items, expected))
            for batch in [largest] if start else sorted(batches):
                yield Trial(profile, batches[batch], batch, some, answers or None)


def _fits(entry: EngineInput, profile: int, sample: GivenSample, *, batching: bool) -> bool:
    allowed = entry.ranges[profile]
    skip = 1 if batching else 0
    shape = sample.inputs[entry.name].shape
    return len(shape) == len(allowed.min) and all(
        low <= size <= high
        for low, size, high in zip(allowed.min[skip:], shape[skip:], allowed.max[skip:], strict=True)
    )


def _joined(items: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([item[name] for item in items]) for name in items[0]}


def _part(items: Mapping[str, Array], start: int, count: int) -> dict[str, Array]:
    return {name: array[start : start + count] for name, array in items.items()}
