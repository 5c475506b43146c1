"""Inputs to try a pipeline with: the user's own, or made to fit what the pipeline says of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ensemble_builder.artifacts.npy import MAGIC, read_npy
from ensemble_builder.compilers.dali import media
from ensemble_builder.compilers.dali.inputs import Input

Array = npt.NDArray[Any]
Values = Mapping[str, Array]
"""One sample: input name -> array without batch axis."""

NUMPY_TYPES: dict[str, str] = {
    "TYPE_BOOL": "bool",
    "TYPE_UINT8": "uint8",
    "TYPE_UINT16": "uint16",
    "TYPE_UINT32": "uint32",
    "TYPE_UINT64": "uint64",
    "TYPE_INT8": "int8",
    "TYPE_INT16": "int16",
    "TYPE_INT32": "int32",
    "TYPE_INT64": "int64",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_FP64": "float64",
}

_IMAGE_SIZES = ((640, 480), (512, 768))
_SECONDS = (1.0, 1.5)
_CLIPS = ((320, 240, 48), (256, 192, 64))
"""Width, height and number of frames."""

_Shapes = tuple[tuple[int, ...], tuple[int, ...]]
_GUESSES: Mapping[int, tuple[_Shapes, ...]] = {
    0: (((), ()),),
    1: (((1000,), (1500,)), ((4,), (4,)), ((3,), (3,)), ((2,), (2,)), ((1,), (1,))),
    2: (((256, 272), (320, 288)), ((8, 4), (6, 4)), ((2, 3), (2, 3)), ((8, 2), (6, 2)), ((3, 3), (3, 3))),
    3: (
        ((272, 256, 5), (320, 288, 7)),
        ((272, 256, 3), (320, 288, 3)),
        ((3, 272, 256), (3, 320, 288)),
        ((272, 256, 1), (320, 288, 1)),
    ),
    4: (
        ((4, 272, 256, 5), (6, 320, 288, 7)),
        ((4, 272, 256, 3), (6, 320, 288, 3)),
        ((4, 3, 272, 256), (6, 3, 320, 288)),
    ),
}
"""Pairs of shapes by number of axes, tried in order until the pipeline takes a pair.

Axes that differ within a pair show whether an output follows them; an axis is the same in both only where
pairs with other sizes were refused.
"""


@dataclass(frozen=True)
class UnreadableSampleError(Exception):
    """A user's sample does not fit its input. `input_index` is its place in the sample's list."""

    sample: int
    input_index: int
    message: str


def given(files: Sequence[Mapping[str, Path]], inputs: Sequence[Input]) -> Iterator[Values]:
    """The user's samples. Raises UnreadableSampleError."""
    known = {entry.name: entry for entry in inputs}
    for number, sample in enumerate(files):
        for index, name in enumerate(sample):
            if name not in known:
                message = f"the pipeline has no input {name!r}; it has {', '.join(known)}"
                raise UnreadableSampleError(number, index, message)
        missing = [name for name in known if name not in sample]
        if missing:
            raise UnreadableSampleError(
                number, 0, f"input {missing[0]!r} is missing: give a file for each input"
            )
        yield {
            name: _read(path, known[name], number, index) for index, (name, path) in enumerate(sample.items())
        }


def _read(path: Path, entry: Input, sample: int, index: int) -> Array:
    data = path.read_bytes()
    dtype = np.dtype(NUMPY_TYPES[entry.data_type])
    if data.startswith(MAGIC) and not entry.family:
        try:
            value: Array = read_npy(data)
        except ValueError as error:
            message = f"the .npy file cannot be read: {error}"
            raise UnreadableSampleError(sample, index, message) from error
        if value.dtype != dtype or value.ndim != entry.ndim:
            message = (
                f"{entry.name} takes {dtype} with {entry.ndim} axes, the file has {value.dtype} {value.shape}"
            )
            raise UnreadableSampleError(sample, index, message)
        return value
    static = entry.dims if entry.dims and min(entry.dims) > 0 else (-1,) if entry.ndim == 1 else None
    if static is None:
        message = f"raw bytes do not tell the shape of {entry.name}: give a .npy file (numpy.save)"
        raise UnreadableSampleError(sample, index, message)
    try:
        return np.frombuffer(data, dtype).reshape(static)
    except ValueError:
        message = f"{len(data)} bytes do not make {dtype} {list(static)} for {entry.name}"
        raise UnreadableSampleError(sample, index, message) from None


def generated(inputs: Sequence[Input]) -> Iterator[tuple[Values, Values]]:
    """Pairs of samples that differ in size, to be tried in order; numeric inputs are zeros."""
    attempts = max((len(_guesses(entry)) for entry in inputs), default=0)
    for attempt in range(attempts):
        first, second = ({entry.name: _make(entry, which, attempt) for entry in inputs} for which in (0, 1))
        yield first, second


def _guesses(entry: Input) -> tuple[_Shapes, ...]:
    if entry.family:
        return (((), ()),)
    guesses = _GUESSES.get(entry.ndim, (((2,) * entry.ndim, (3,) * entry.ndim),))
    if entry.dims is None:
        return guesses
    first, second = (tuple(map(_fill, entry.dims, guesses[0][which])) for which in (0, 1))
    return ((first, second),)


def _fill(stated: int, guess: int) -> int:
    return stated if stated > 0 else guess


def _make(entry: Input, which: int, attempt: int) -> Array:
    if entry.family:
        return np.frombuffer(_encoded(entry, which), np.uint8)
    guesses = _guesses(entry)
    return np.zeros(guesses[min(attempt, len(guesses) - 1)][which], NUMPY_TYPES[entry.data_type])


def _encoded(entry: Input, which: int) -> bytes:
    if entry.family == "image":
        return media.png(*_IMAGE_SIZES[which])
    if entry.family == "audio":
        return media.wav(_SECONDS[which])
    width, height, frames = _CLIPS[which]
    if entry.sequence_length:
        frames = entry.sequence_length * max(frames // entry.sequence_length, 1)
        if which and not entry.pads_last_sequence:
            frames += entry.sequence_length // 2  # shows that the last sequence is shorter
    return media.clip(width, height, frames=frames)
