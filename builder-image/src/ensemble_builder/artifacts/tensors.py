"""Values of tensors from the files that a user gives: .npy, JSON, or bytes as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

from ensemble_builder.artifacts.npy import read_npy
from ensembles_api.spec import Encoding

Array = NDArray[np.generic]
FREE = -1


class TensorError(Exception):
    """Why a file is no value for a tensor, and what to do about it."""


@dataclass(frozen=True)
class Declared:
    """What a config says of a tensor.

    data_type: on the wire, e.g. FP32 or BYTES; empty where only the server knows.
    dims: without the batch axis, -1 is any; None where only the server knows.
    batched: the wire shape has a batch axis before them.
    """

    data_type: str = ""
    dims: tuple[int, ...] | None = None
    batched: bool = False

    @property
    def wire_dims(self) -> tuple[int, ...] | None:
        return None if self.dims is None else ((FREE, *self.dims) if self.batched else self.dims)


def read_tensor(
    data: bytes, encoding: Encoding, declared: Declared, shape: Sequence[int] | None, *, any_number: bool
) -> Array:
    """The value that a file gives a tensor, in its wire shape.

    Args:
        data: the file.
        encoding: of the file.
        declared: the tensor.
        shape: stated by the user, batch axis first; None takes the file's or the config's.
        any_number: a golden value: numbers of any type may be compared with the answer.

    Raises:
        TensorError: it does not fit.
    """
    match encoding:
        case Encoding.NPY:
            value = _npy(data)
        case Encoding.JSON:
            value = _json(data, declared)
        case Encoding.RAW:
            value = _raw(data, declared)
    value = _typed(value, declared, any_number=any_number)
    if shape is not None:
        return _reshaped(value, tuple(shape), declared)
    return _raw_shape(value, declared) if encoding is Encoding.RAW else _own_shape(value, declared)


def wire_bytes(value: Array) -> bytes:
    """Little-endian, C order; strings as Triton sends them: each behind its length in four bytes."""
    if value.dtype == np.object_:
        return bytes(serialize_byte_tensor(value).item()) if value.size else b""
    return value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()


def wire_type(value: Array) -> str:
    return str(np_to_triton_dtype(value.dtype))


def _npy(data: bytes) -> Array:
    try:
        value: Array = read_npy(data)
    except ValueError as error:
        raise TensorError(
            f"it is no .npy file of numbers or strings ({error}): write it by numpy.save"
        ) from error
    return _bytes_of(value) if value.dtype.kind in "US" else value


def _bytes_of(strings: Array) -> Array:
    flat = [item.encode() if isinstance(item, str) else bytes(item) for item in strings.ravel().tolist()]
    made = np.empty(len(flat), dtype=np.object_)
    made[:] = flat
    return made.reshape(strings.shape)


def _json(data: bytes, declared: Declared) -> Array:
    if not declared.data_type:
        raise TensorError("the tensor's type is known to the server alone: give a .npy file, which states it")
    try:
        given = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TensorError(f"it is no JSON ({error}): write a list, as in [[1, 2, 3]]") from error
    try:
        found = np.asarray(given)
    except ValueError as error:
        raise TensorError("its lists differ in length: write one of equal ones") from error
    if declared.data_type == "BYTES":
        if found.dtype.kind != "U":
            raise TensorError('the tensor has strings: write a list of them, as in ["a", "b"]')
        return _bytes_of(found)
    if found.dtype.kind not in "iufb":
        raise TensorError("it holds something else than numbers: write a list of them, as in [[1, 2, 3]]")
    wanted = np.dtype(triton_to_np_dtype(declared.data_type))
    if wanted.kind in "iub" and not np.array_equal(found, found.astype(wanted)):
        raise TensorError(f"it holds numbers that are no {declared.data_type}: correct them")
    return found.astype(wanted)


def _raw(data: bytes, declared: Declared) -> Array:
    if not declared.data_type:
        raise TensorError("the tensor's type is known to the server alone: give a .npy file, which states it")
    if declared.data_type == "BYTES":
        made = np.empty(1, dtype=np.object_)
        made[0] = data
        return made
    wanted = np.dtype(triton_to_np_dtype(declared.data_type))
    if len(data) % wanted.itemsize:
        raise TensorError(
            f"its {len(data)} bytes are no whole number of {declared.data_type}: give little-endian numbers, "
            "or a .npy file"
        )
    return np.frombuffer(data, wanted)


def _typed(value: Array, declared: Declared, *, any_number: bool) -> Array:
    found = wire_type(value)
    if found == "None":
        raise TensorError(f"Triton has no tensors of {value.dtype}: convert it")
    if not declared.data_type or found == declared.data_type:
        return value
    if any_number and "BYTES" not in (found, declared.data_type):
        return value
    if declared.data_type == "BF16" and found == "FP32":
        return value.astype(triton_to_np_dtype("BF16"))
    raise TensorError(f"it is {found} and the tensor {declared.data_type}: convert it")


def _reshaped(value: Array, shape: tuple[int, ...], declared: Declared) -> Array:
    wanted = declared.wire_dims
    if wanted is not None and not fits(shape, wanted):
        raise TensorError(f"shape {list(shape)} does not fit the tensor's {list(wanted)}")
    try:
        return value.reshape(shape)
    except ValueError as error:
        raise TensorError(f"it has {value.size} values, and shape {list(shape)} another number") from error


def _raw_shape(value: Array, declared: Declared) -> Array:
    dims = declared.dims
    if dims is None or dims.count(FREE) > 1:
        raise TensorError("its shape cannot be told from the config: state shape")
    leading = (1,) if declared.batched else ()
    try:
        return value.reshape((*leading, *dims))
    except ValueError as error:
        of = f"{value.size} value{'s' if value.size != 1 else ''}"
        raise TensorError(
            f"it has {of}, which do not fill the tensor's {list(dims)}: state shape, or give another file"
        ) from error


def _own_shape(value: Array, declared: Declared) -> Array:
    wanted = declared.wire_dims
    if wanted is None or fits(value.shape, wanted):
        return value
    if declared.batched and declared.dims is not None and fits(value.shape, declared.dims):
        return value[np.newaxis]
    batch = ", or without the batch axis" if declared.batched else ""
    raise TensorError(f"its shape is {list(value.shape)}, and the tensor's {list(wanted)}{batch}")


def fits(shape: Sequence[int], dims: Sequence[int]) -> bool:
    """Whether a shape is one of those that dims allow."""
    return len(shape) == len(dims) and all(
        want in {FREE, have} for want, have in zip(dims, shape, strict=True)
    )
