"""Runs of an engine. TensorRT and the GPU are fakes: NumPy computes one network in the host's memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from ensemble_builder.compilers.tensorrt.accuracy import Array
from ensemble_builder.compilers.tensorrt.cuda import Buffer, CudaDevice
from ensemble_builder.compilers.tensorrt.runner import Runner

INPUT, OUTPUT = object(), object()


class FakeGpu:
    """Memory of the host."""

    stream = 0

    def __init__(self) -> None:
        self._held: dict[int, Any] = {}

    @property
    def buffers(self) -> int:
        return len(self._held)

    def allocate(self, size: int) -> Buffer:
        memory = ctypes.create_string_buffer(max(size, 1))
        address = ctypes.addressof(memory)
        self._held[address] = memory
        return Buffer(address, size, lambda buffer: cast("None", self._held.pop(buffer.address)))

    def upload(self, buffer: Buffer, data: Array) -> None:
        ctypes.memmove(buffer.address, data.ctypes.data, data.nbytes)

    def download(self, buffer: Buffer, into: Array) -> None:
        ctypes.memmove(into.ctypes.data, buffer.address, into.nbytes)

    def synchronise(self) -> None:
        pass

    def free_memory(self) -> int:
        return 0


class FakeContext:
    """rows = nonzero(x). A context that has run states the shape of that run, which is not the next one's."""

    def __init__(self) -> None:
        self._shapes: dict[str, tuple[int, ...]] = {"x": (2, 4), "rows": (2, -1)}
        self._addresses: dict[str, int] = {}
        self._allocator: Any = None

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        return (profile, stream) == (0, 0)

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        return tuple(shape) == self._shapes[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def set_output_allocator(self, name: str, allocator: Any) -> bool:
        self._allocator = allocator
        return name == "rows"

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 0
        x = np.empty((2, 4), np.float32)
        ctypes.memmove(x.ctypes.data, self._addresses["x"], x.nbytes)
        rows = np.ascontiguousarray(np.stack(np.nonzero(x)).astype(np.int32))
        address = self._allocator.reallocate_output("rows", 0, rows.nbytes, 1)
        ctypes.memmove(address, rows.ctypes.data, rows.nbytes)
        self._shapes["rows"] = rows.shape
        self._allocator.notify_shape("rows", rows.shape)
        return True


class FakeEngine:
    num_io_tensors = 2
    num_optimization_profiles = 1

    def get_tensor_name(self, index: int) -> str:
        return ("x", "rows")[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name={"x": "FLOAT", "rows": "INT32"}[name])

    def get_tensor_mode(self, name: str) -> object:
        return {"x": INPUT, "rows": OUTPUT}[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return {"x": (2, 4), "rows": (2, -1)}[name]

    def get_tensor_location(self, name: str) -> str:
        return f"where {name} is"

    def is_shape_inference_io(self, name: str) -> bool:
        return name == ""

    def create_execution_context(self) -> FakeContext:
        return FakeContext()


class FakeRuntime:
    def __init__(self, logger: object) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> FakeEngine:
        assert plan == b"plan"
        return FakeEngine()


FAKE_TENSORRT = SimpleNamespace(
    Runtime=FakeRuntime,
    IOutputAllocator=object,
    TensorIOMode=SimpleNamespace(OUTPUT=OUTPUT),
    TensorLocation=SimpleNamespace(HOST="host"),
)


def test_an_output_whose_size_hangs_on_values_has_each_runs_own_size() -> None:
    gpu = FakeGpu()
    runner = Runner(FAKE_TENSORRT, None, b"plan", cast("CudaDevice", gpu))

    for positive in (7, 3, 0, 8):
        x = np.zeros(8, np.float32)
        x[:positive] = 1
        found = runner.run({"x": x.reshape(2, 4)}, profile=0)
        np.testing.assert_array_equal(found["rows"], np.stack(np.nonzero(x.reshape(2, 4))))
        assert gpu.buffers == 0
