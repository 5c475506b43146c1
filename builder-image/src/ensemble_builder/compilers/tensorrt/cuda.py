"""The little of CUDA that running an engine takes: memory, copies, a stream and timers.

Through the driver's own library, which is wherever a GPU is; the runtime library's name differs from one CUDA
version to the next. TensorRT works in the device's primary context, and so does this.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from typing_extensions import Self

from ensemble_builder.compilers.tensorrt.accuracy import Array

_OUT_OF_MEMORY = 2


class CudaError(Exception):
    """A call of the driver failed."""


class CudaOutOfMemoryError(CudaError):
    """The GPU has not as much memory free."""


class CudaDevice:
    """The first GPU that is visible. Everything it made is freed with it."""

    def __init__(self) -> None:
        """Raises CudaError where there is no driver or no GPU."""
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise CudaError(f"there is no NVIDIA driver: {error}") from error
        self._buffers: list[Buffer] = []
        self._call("cuInit", ctypes.c_uint(0))
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(0))
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    @property
    def stream(self) -> int:
        """The handle that TensorRT takes."""
        return int(self._stream.value or 0)

    def _call(self, name: str, *arguments: Any) -> None:
        code: int = getattr(self._library, name)(*arguments)
        if code == _OUT_OF_MEMORY:
            raise CudaOutOfMemoryError(f"{name}: the GPU has not enough memory free")
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(code, ctypes.byref(text))
            raise CudaError(f"{name}: {(text.value or b'unknown error').decode()} ({code})")

    def allocate(self, size: int) -> Buffer:
        """Memory of `size` bytes, at least one."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        buffer = Buffer(address.value, size, self._release)
        self._buffers.append(buffer)
        return buffer

    def _release(self, buffer: Buffer) -> None:
        self._buffers.remove(buffer)
        self._call("cuMemFree_v2", ctypes.c_uint64(buffer.address))

    def free(self) -> None:
        """Free every buffer that is left."""
        for buffer in tuple(self._buffers):
            buffer.free()

    def upload(self, buffer: Buffer, data: Array) -> None:
        """Copy a contiguous array to the GPU."""
        source = ctypes.c_void_p(data.ctypes.data)
        size = ctypes.c_size_t(data.nbytes)
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(buffer.address), source, size, self._stream)

    def download(self, buffer: Buffer, into: Array) -> None:
        """Fill a contiguous array from the GPU; it holds the bytes when this returns."""
        target = ctypes.c_void_p(into.ctypes.data)
        size = ctypes.c_size_t(into.nbytes)
        self._call("cuMemcpyDtoHAsync_v2", target, ctypes.c_uint64(buffer.address), size, self._stream)
        self.synchronise()

    def synchronise(self) -> None:
        """Wait until the stream has done its work."""
        self._call("cuStreamSynchronize", self._stream)

    def free_memory(self) -> int:
        """Bytes of the GPU that nobody uses."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def seconds(self, work: Callable[[], object]) -> float:
        """How long the GPU takes for what `work` puts on the stream."""
        begin, end = self._event(), self._event()
        try:
            self._call("cuEventRecord", begin, self._stream)
            work()
            self._call("cuEventRecord", end, self._stream)
            self._call("cuEventSynchronize", end)
            passed = ctypes.c_float()
            self._call("cuEventElapsedTime", ctypes.byref(passed), begin, end)
        finally:
            for event in (begin, end):
                self._call("cuEventDestroy_v2", event)
        return passed.value / 1000

    def _event(self) -> ctypes.c_void_p:
        event = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(0))
        return event


class Buffer:
    """Memory on the GPU."""

    def __init__(self, address: int, size: int, release: Callable[[Buffer], None]) -> None:
        self.address = address
        self.size = size
        self._release = release

    def free(self) -> None:
        self._release(self)
