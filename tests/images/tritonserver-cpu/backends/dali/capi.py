"""A pipeline, on the CPU or on a GPU, through DALI's C interface (dali/dali.h).

The C interface and not the Python one: it alone shows the operator traces by which a video input says that
there is more to come.
"""

from __future__ import annotations

import ctypes
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from backends.device.cuda import Device, DeviceArray

_EXECUTOR_DYNAMIC = 1 | 2 | 8
_PREFETCH_DEPTH = 1  # fixed by Triton's DALI backend
_SYNCHRONOUS_COPY = 1 | 2
_SYNCHRONOUS_COPY_OUT = 2

# daliDataType_t -> numpy
TYPES: Mapping[int, np.dtype[Any]] = {
    0: np.dtype(np.uint8),
    1: np.dtype(np.uint16),
    2: np.dtype(np.uint32),
    3: np.dtype(np.uint64),
    4: np.dtype(np.int8),
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    8: np.dtype(np.float16),
    9: np.dtype(np.float32),
    10: np.dtype(np.float64),
    11: np.dtype(np.bool_),
}
_NUMBERS = {dtype: number for number, dtype in TYPES.items()}


class DaliError(Exception):
    """What DALI says."""


class _Params(ctypes.Structure):
    _fields_ = (
        ("present", ctypes.c_uint64),
        ("max_batch_size", ctypes.c_int),
        ("num_threads", ctypes.c_int),
        ("device_id", ctypes.c_int),
        ("seed", ctypes.c_int64),
        ("exec_type", ctypes.c_int),
        ("exec_flags", ctypes.c_int),
        ("prefetch_cpu", ctypes.c_int),
        ("prefetch_gpu", ctypes.c_int),
        ("enable_checkpointing", ctypes.c_uint8),
        ("enable_memory_stats", ctypes.c_uint8),
        ("bytes_per_sample_hint", ctypes.c_size_t),
    )


# Bits of _Params.present
_HAS_BATCH_SIZE, _HAS_THREADS, _HAS_DEVICE, _HAS_EXECUTOR, _HAS_PREFETCH = (
    1 << 0,
    1 << 1,
    1 << 2,
    1 << 4,
    1 << 6,
)


class _Description(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("device", ctypes.c_int),
        ("present", ctypes.c_uint),
        ("dtype", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("layout", ctypes.c_char_p),
    )


class _Placement(ctypes.Structure):
    _fields_ = (("device_type", ctypes.c_int), ("device_id", ctypes.c_int), ("pinned", ctypes.c_uint8))


class _Deleter(ctypes.Structure):
    _fields_ = (
        ("context", ctypes.c_void_p),
        ("destroy_context", ctypes.c_void_p),
        ("delete_buffer", ctypes.c_void_p),
    )


_CPU = _Placement(0, 0, 0)
_ON_GPU = 1


@dataclass(frozen=True)
class Tensor:
    """What the pipeline declares of an input or output; None: nothing. ``ndim`` has no batch axis."""

    name: str
    dtype: np.dtype[Any] | None
    ndim: int | None


@dataclass(frozen=True)
class Batch:
    """Samples of one output: their common type, one shape each, and the values of all in one row, which lies
    where the pipeline left it.
    """

    values: np.ndarray[Any, Any] | DeviceArray
    shapes: tuple[tuple[int, ...], ...]


class Pipeline:
    """A built pipeline, on the CPU where no GPU is given.

    Raises:
        DaliError: the file does not deserialise or does not build, e.g. for want of a CPU operator.

    """

    def __init__(
        self,
        serialized: bytes,
        *,
        max_batch_size: int | None,
        threads: int | None,
        device: Device | None = None,
        keep_on_gpu: bool = True,
    ) -> None:
        self._device = device
        self._outputs_to = device if keep_on_gpu else None
        present = _HAS_EXECUTOR | _HAS_PREFETCH
        present |= _HAS_DEVICE if device else 0
        present |= _HAS_BATCH_SIZE if max_batch_size else 0
        present |= _HAS_THREADS if threads else 0
        params = _Params(
            present=present,
            max_batch_size=max_batch_size or 0,
            num_threads=threads or 0,
            device_id=device.index if device else 0,
            exec_type=_EXECUTOR_DYNAMIC,
            prefetch_cpu=_PREFETCH_DEPTH,
            prefetch_gpu=_PREFETCH_DEPTH,
        )
        self._handle = ctypes.c_void_p()
        size = ctypes.c_size_t(len(serialized))
        _call("daliPipelineDeserialize", ctypes.byref(self._handle), serialized, size, ctypes.byref(params))
        _call("daliPipelineBuild", self._handle)
        self.inputs = self._describe("daliPipelineGetInputCount", "daliPipelineGetInputDescByIdx")
        self.outputs = self._describe("daliPipelineGetOutputCount", "daliPipelineGetOutputDesc")

    def close(self) -> None:
        handle, self._handle = self._handle, ctypes.c_void_p()
        if handle:
            _call("daliPipelineDestroy", handle)

    def feed(self, name: str, samples: Sequence[np.ndarray[Any, Any]], data_id: str) -> None:
        """Give one input its samples: one type, equal numbers of axes, any shapes."""
        first = samples[0]
        values = np.concatenate([np.ascontiguousarray(sample).reshape(-1) for sample in samples])
        lengths = [length for sample in samples for length in sample.shape]
        shapes = (ctypes.c_int64 * len(lengths))(*lengths)
        fed = ctypes.c_void_p()
        _call("daliTensorListCreate", ctypes.byref(fed), _CPU)
        try:
            _call(
                "daliTensorListAttachBuffer",
                *(fed, len(samples), first.ndim, shapes, _NUMBERS[first.dtype], None),
                *(ctypes.c_void_p(values.ctypes.data), None, _Deleter()),
            )
            options = ctypes.c_int(_SYNCHRONOUS_COPY)
            _call("daliPipelineFeedInput", self._handle, name.encode(), fed, data_id.encode(), options, None)
        finally:
            _call("daliTensorListDecRef", fed, None)

    def run(self) -> tuple[list[Batch], Mapping[tuple[str, str], str]]:
        """Run one iteration: its outputs, and what the operators tell, by operator and trace name."""
        _call("daliPipelineRun", self._handle)
        outputs = ctypes.c_void_p()
        _call("daliPipelinePopOutputs", self._handle, ctypes.byref(outputs))
        try:
            batches = [_copy_out(outputs, index, self._outputs_to) for index in range(len(self.outputs))]
            traces = {
                (tensor.name, trace): value
                for tensor in self.inputs
                for trace in ("depleted", "next_output_data_id")
                if (value := _trace(outputs, tensor.name, trace)) is not None
            }
        finally:
            _call("daliPipelineOutputsDestroy", outputs)
        return batches, traces

    def _describe(self, count_call: str, item_call: str) -> tuple[Tensor, ...]:
        count = ctypes.c_int()
        _call(count_call, self._handle, ctypes.byref(count))
        found = []
        for index in range(count.value):
            description = _Description()
            _call(item_call, self._handle, ctypes.byref(description), index)
            dtype = TYPES.get(description.dtype) if description.present & 1 else None
            ndim = description.ndim if description.present & 2 and description.ndim >= 0 else None
            found.append(Tensor(description.name.decode(), dtype, ndim))
        return tuple(found)


def load_plugin(path: str) -> None:
    """Load a library of custom operators, which register themselves."""
    _library()
    ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)


def _copy_out(outputs: ctypes.c_void_p, index: int, device: Device | None) -> Batch:
    samples = ctypes.c_void_p()
    _call("daliPipelineOutputsGet", outputs, ctypes.byref(samples), index)
    try:
        count, ndim, dtype = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        lengths = ctypes.POINTER(ctypes.c_int64)()
        _call("daliTensorListGetShape", samples, *map(ctypes.byref, (count, ndim, lengths)))
        _call("daliTensorListGetDType", samples, ctypes.byref(dtype))
        shapes = tuple(
            tuple(lengths[sample * ndim.value + axis] for axis in range(ndim.value))
            for sample in range(count.value)
        )
        total = sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)
        values = _copy_values(samples, total, TYPES[dtype.value], device)
    finally:
        _call("daliTensorListDecRef", samples, None)
    return Batch(values, shapes)


def _copy_values(
    samples: ctypes.c_void_p, total: int, dtype: np.dtype[Any], device: Device | None
) -> np.ndarray[Any, Any] | DeviceArray:
    found = _Placement()
    _call("daliTensorListGetBufferPlacement", samples, ctypes.byref(found))
    if total and device and found.device_type == _ON_GPU:
        array = DeviceArray(device.take(total * dtype.itemsize), device.index, dtype, (total,))
        target = (ctypes.c_void_p(array.pointer), _Placement(_ON_GPU, device.index, 0))
        _call("daliTensorListCopyOut", samples, *target, None, ctypes.c_int(_SYNCHRONOUS_COPY_OUT))
        return array
    values = np.empty(total, dtype=dtype)
    if total:
        target = (ctypes.c_void_p(values.ctypes.data), _CPU)
        _call("daliTensorListCopyOut", samples, *target, None, ctypes.c_int(_SYNCHRONOUS_COPY_OUT))
    return values


def _trace(outputs: ctypes.c_void_p, operator: str, name: str) -> str | None:
    value = ctypes.c_char_p()
    library = _library()
    code = library.daliPipelineOutputsGetTrace(outputs, ctypes.byref(value), operator.encode(), name.encode())
    return value.value.decode() if code == 0 and value.value is not None else None


def _call(function: str, *arguments: object) -> None:
    library = _library()
    code = getattr(library, function)(*arguments)
    if code < 0:
        message = library.daliGetLastErrorMessage().decode(errors="replace")
        library.daliClearLastError()
        raise DaliError(message or f"{function} returned {code}")


_loaded: list[ctypes.CDLL] = []


def _library() -> ctypes.CDLL:
    if not _loaded:
        folder = _folder()
        ctypes.CDLL(str(folder / "libdali_core.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libdali_kernels.so"), mode=ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(str(folder / "libdali.so"), mode=ctypes.RTLD_GLOBAL)
        # The operators register themselves with libdali when their library is loaded.
        ctypes.CDLL(str(folder / "libdali_operators.so"), mode=ctypes.RTLD_GLOBAL)
        library.daliGetLastErrorMessage.restype = ctypes.c_char_p
        _loaded.append(library)
        _call("daliInit")
    return _loaded[0]


def _folder() -> Path:
    """Folder of the installed DALI, found without importing it: that takes 1.5 s and loads CUDA checks."""
    spec = find_spec("nvidia")
    roots = list(spec.submodule_search_locations or ()) if spec else [sysconfig.get_path("purelib")]
    for root in roots:
        if (Path(root) / "dali" / "libdali.so").is_file():
            return Path(root) / "dali"
    raise DaliError("nvidia-dali is not installed")
