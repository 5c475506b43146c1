"""The few calls of CUDA's driver (libcuda) that a backend needs.

Memory is taken by cuMemAlloc, not from a stream's pool: only such memory can be shared with another process,
which is how Triton's Python backend passes tensors on. Buffers are kept and used again, since taking one
waits for the whole GPU.
"""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_SMALLEST = 1 << 16


class CudaError(Exception):
    """A call of the driver failed."""


class Device:
    """The primary context of one GPU, which CUDA's runtime (DALI, TensorRT) uses too, and one stream.

    Raises:
        CudaError: there is no driver or no such GPU.

    """

    def __init__(self, index: int) -> None:
        self.index = index
        try:
            self._driver = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise CudaError(f"no NVIDIA driver reaches this container: {error}") from error
        self._call("cuInit", 0)
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), index)
        self._context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self.enter()
        self._stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(self._stream), 1)  # does not wait for the default stream
        self._spare: dict[int, list[int]] = {}

    @property
    def stream(self) -> int:
        """The stream's handle, as TensorRT takes it."""
        return self._stream.value or 0

    def enter(self) -> None:
        """Make the context that of the calling thread."""
        self._call("cuCtxSetCurrent", self._context)

    def wait(self) -> None:
        """Wait for all that the stream was given."""
        self._call("cuStreamSynchronize", self._stream)

    def take(self, size: int) -> "Buffer":
        """Take a buffer of at least ``size`` > 0 bytes; it comes back when nobody holds it any more."""
        rounded = max(
            _SMALLEST, 1 << (size - 1).bit_length()
        )  # buffers of about one size are interchangeable
        spare = self._spare.setdefault(rounded, [])
        if spare:
            return Buffer(spare.pop(), spare.append)
        pointer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(rounded))
        return Buffer(pointer.value, spare.append)

    def upload(self, target: int, source: np.ndarray[Any, Any]) -> None:
        """Copy a contiguous array to ``target``; the array must live until ``wait``."""
        size = ctypes.c_size_t(source.nbytes)
        where = (ctypes.c_uint64(target), ctypes.c_void_p(source.ctypes.data))
        self._call("cuMemcpyHtoDAsync_v2", *where, size, self._stream)

    def download(self, array: "DeviceArray") -> np.ndarray[Any, Any]:
        """Return a copy on the CPU."""
        values = np.empty(array.shape, array.dtype)
        where = (ctypes.c_void_p(values.ctypes.data), ctypes.c_uint64(array.pointer))
        self._call("cuMemcpyDtoHAsync_v2", *where, ctypes.c_size_t(values.nbytes), self._stream)
        self.wait()
        return values

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy within the GPU's memory."""
        where = (ctypes.c_uint64(target), ctypes.c_uint64(source))
        self._call("cuMemcpyDtoDAsync_v2", *where, ctypes.c_size_t(size), self._stream)

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._driver, function)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(code, ctypes.byref(text))
            raise CudaError(f"{function}: {(text.value or b'unknown error').decode()} ({code})")


def keeps_on_gpu(config: Mapping[str, Any]) -> bool:
    """Whether tensors stay on the GPU: a parameter of the Python backend, which heeds it for inputs."""
    parameter = config.get("parameters", {}).get("FORCE_CPU_ONLY_INPUT_TENSORS", {})
    return bool(parameter.get("string_value", "").lower() == "no")


@dataclass(frozen=True)
class Buffer:
    """Memory of a GPU, given back when the last reference goes."""

    pointer: int
    release: Callable[[int], None] = field(repr=False)

    def __del__(self) -> None:
        self.release(self.pointer)


@dataclass(frozen=True)
class DeviceArray:
    """A dense array in a GPU's memory: ``offset`` counts elements from the buffer's start."""

    buffer: Buffer
    device: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int = 0

    @property
    def pointer(self) -> int:
        return self.buffer.pointer + self.offset * self.dtype.itemsize

    def rows(self, start: int, stop: int) -> "DeviceArray":
        """Part of the array along its first axis."""
        row = int(np.prod(self.shape[1:], dtype=np.int64))
        shape = (stop - start, *self.shape[1:])
        return DeviceArray(self.buffer, self.device, self.dtype, shape, self.offset + start * row)

    def reshape(self, shape: tuple[int, ...]) -> "DeviceArray":
        return DeviceArray(self.buffer, self.device, self.dtype, shape, self.offset)
