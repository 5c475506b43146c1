"""Reads the user's samples: .npy files, or raw numbers where the shape is fixed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ensemble_builder.artifacts.npy import MAGIC, read_npy
from ensemble_builder.compilers.parameters import InputFile
from ensemble_builder.compilers.tensorrt.accuracy import Array
from ensemble_builder.compilers.tensorrt.proof_settings import SampleFiles
from ensemble_builder.compilers.tensorrt.samples import EngineInput, GivenSample, Shape
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason


def read_samples(
    samples: Sequence[SampleFiles],
    inputs: Sequence[EngineInput],
    outputs: Mapping[str, np.dtype[np.generic]],
    *,
    folder: Path,
    field: str,
    batching: bool,
    answers: bool,
) -> tuple[GivenSample, ...]:
    """The samples, every input with a batch axis where the engine has one.

    Args:
        samples: names of tensors and of files below `folder`.
        inputs: of the engine.
        outputs: of the engine, with the types of their numbers.
        folder: in/.
        field: path of the samples in the resource, for faults.
        batching: whether the engine has a batch axis.
        answers: whether the engine is compared with the samples' outputs, which are not read otherwise.

    Raises:
        FaultError: InvalidSpec naming the sample's entry that does not fit.
    """
    found = []
    for index, sample in enumerate(samples):
        at = f"{field}[{index}]"
        by_name = {entry.name: entry for entry in inputs}
        lacking = by_name.keys() - {item.name for item in sample.inputs}
        if lacking:
            raise _fault(f"{at}.inputs", f"input {min(lacking)!r} has no value: add one")
        given = {}
        for place, item in enumerate(sample.inputs):
            where = f"{at}.inputs[{place}]"
            entry = by_name.get(item.name)
            if entry is None:
                listed = ", ".join(by_name)
                raise _fault(f"{where}.name", f"the model has no input {item.name!r}; it has {listed}")
            fixed = _fixed(entry, batching=batching)
            values = _read(folder / item.file, entry.dtype, fixed, where)
            given[item.name] = _with_batch(values, len(entry.ranges[0].min), where, batching=batching)
        count = _count(sample.inputs, given, at) if batching else None
        expected = {
            item.name: _answer(item, outputs, folder, f"{at}.outputs[{place}]", count)
            for place, item in enumerate(sample.outputs if answers else ())
        }
        found.append(GivenSample(at, given, expected))
        _check_alike(found[0], found[-1])
    return tuple(found)


def _count(inputs: Sequence[InputFile], given: Mapping[str, Array], at: str) -> int:
    """Items of a sample of a batching engine: as many in every input."""
    first = inputs[0].name
    count = len(given[first])
    for place, item in enumerate(inputs):
        size = len(given[item.name])
        if not size:
            raise _fault(f"{at}.inputs[{place}].source", "it holds no item: give at least one")
        if size != count:
            raise _fault(
                f"{at}.inputs[{place}].source",
                f"{item.name!r} has {size} items, {first!r} has {count}: give every input as many",
            )
    return count


def _check_alike(first: GivenSample, sample: GivenSample) -> None:
    """Samples of equal shapes are asked in one batch, and are compared in the same outputs."""
    if sample.outputs.keys() != first.outputs.keys():
        has, wanted = (", ".join(sorted(each.outputs)) or "none" for each in (sample, first))
        raise _fault(
            f"{sample.at}.outputs", f"it has {has}, {first.at} has {wanted}: give every sample the same"
        )


def _fault(field: str, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.INVALID_SPEC, field=field, message=message))


def _fixed(entry: EngineInput, *, batching: bool) -> Shape | None:
    """The shape of one item where there is only one."""
    skip = 1 if batching else 0
    shapes = {shape[skip:] for allowed in entry.ranges for shape in (allowed.min, allowed.opt, allowed.max)}
    return shapes.pop() if len(shapes) == 1 else None


def _read(path: Path, dtype: np.dtype[np.generic], fixed: Shape | None, field: str) -> Array:
    data = path.read_bytes()
    if data.startswith(MAGIC):
        try:
            values: Array = read_npy(data)
        except ValueError as error:
            raise _fault(f"{field}.source", f"the .npy file cannot be read: {error}") from error
        if not np.can_cast(values.dtype, dtype, "same_kind"):
            raise _fault(f"{field}.source", f"it holds {values.dtype}, the model takes {dtype}: convert it")
        typed: Array = values.astype(dtype)
        return typed
    if fixed is None:
        raise _fault(
            f"{field}.source", "the shape is not fixed: give a .npy file (numpy.save), which has one"
        )
    size = math.prod(fixed) * dtype.itemsize
    if not data or len(data) % size:
        raise _fault(
            f"{field}.source",
            f"it has {len(data)} bytes; {list(fixed)} of {dtype} are {size}: give as many, or a .npy file",
        )
    raw: Array = np.frombuffer(data, dtype).reshape(-1, *fixed)
    return raw


def _with_batch(values: Array, rank: int, field: str, *, batching: bool) -> Array:
    """[items, ...] where the engine batches, its own rank otherwise."""
    if values.ndim == rank:
        return values
    if batching and values.ndim == rank - 1:
        return values[np.newaxis]
    if not batching and values.ndim == rank + 1 and len(values) == 1:
        return values.reshape(values.shape[1:])
    raise _fault(f"{field}.source", f"the shape {list(values.shape)} does not have the input's {rank} axes")


def _answer(
    item: InputFile,
    outputs: Mapping[str, np.dtype[np.generic]],
    folder: Path,
    field: str,
    count: int | None,
) -> Array:
    """`count`: items of the sample, None without a batch axis."""
    if item.name not in outputs:
        listed = ", ".join(outputs)
        raise _fault(f"{field}.name", f"the model has no output {item.name!r}; it has {listed}")
    if not (folder / item.file).read_bytes().startswith(MAGIC):
        raise _fault(f"{field}.source", "an answer must be a .npy file (numpy.save): it has a shape")
    values = _read(folder / item.file, outputs[item.name], None, field)
    if count is None or values.shape[:1] == (count,):
        return values
    if count == 1:
        return values[np.newaxis]
    raise _fault(f"{field}.source", f"the sample has {count} items, the answer {list(values.shape)}")
