"""DLPack capsules: how the Python backend takes and gives tensors without copying them.

The structures are those of dlpack.h, version 0.8, before flags and versions came in.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from backends.device.cuda import DeviceArray

_CUDA = 2
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
_NAME = b"dltensor"


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_held: dict[int, tuple[object, ...]] = {}
"""What a consumer may still read, by the address of its structure."""

_api = ctypes.pythonapi
_new = _api.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, _Destructor)
_pointer = _api.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
# Called with a capsule that is being destroyed: no reference to it may be made.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_raw_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _api)
)


def _drop(address: int) -> None:
    _held.pop(address, None)


def _drop_unread(capsule: int) -> None:
    """Nobody consumed it: a consumer renames the capsule."""
    if _is_valid(capsule, _NAME):
        _held.pop(_raw_pointer(capsule, _NAME), None)


_forget, _destroy = _Deleter(_drop), _Destructor(_drop_unread)


def capsule(array: DeviceArray) -> Any:
    """Return a capsule that lends the array; its buffer lives until the consumer is done."""
    shape = (ctypes.c_int64 * len(array.shape))(*array.shape)
    managed = _Managed()
    managed.tensor.data = array.pointer
    managed.tensor.device_type, managed.tensor.device_id = _CUDA, array.device
    managed.tensor.ndim = len(array.shape)
    managed.tensor.code, managed.tensor.bits = _CODES[array.dtype.kind], array.dtype.itemsize * 8
    managed.tensor.lanes = 1
    managed.tensor.shape = ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64))
    managed.deleter = ctypes.cast(_forget, ctypes.c_void_p).value
    address = ctypes.addressof(managed)
    _held[address] = (managed, shape, array)
    return _new(address, _NAME, _destroy)


@dataclass(frozen=True)
class Lent:
    """A dense tensor somebody else holds; ``capsule`` keeps it alive. ``pointer`` is in the GPU's memory."""

    capsule: Any
    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def borrow(exporter: Callable[[], Any]) -> Lent:
    """Read the capsule that ``exporter`` makes, a tensor on the GPU.

    Raises:
        ValueError: it is not on a GPU, or not dense.

    """
    made = exporter()
    tensor = _Managed.from_address(_pointer(made, _NAME)).tensor
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    if tensor.device_type != _CUDA:
        raise ValueError(f"a tensor on a GPU was expected, DLPack device type is {tensor.device_type}")
    kind = next(kind for kind, code in _CODES.items() if code == tensor.code)
    dtype = np.dtype(f"{kind}{tensor.bits // 8}")
    if tensor.strides and tuple(tensor.strides[axis] for axis in range(tensor.ndim)) != _dense(shape):
        raise ValueError("a dense tensor was expected")
    return Lent(made, (tensor.data or 0) + tensor.byte_offset, shape, dtype)


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape)))
