"""Runs an engine on the GPU: answers and times. TensorRT 8.6 to 11 by the interface of named tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import Self

from ensemble_builder.compilers.tensorrt.accuracy import Array
from ensemble_builder.compilers.tensorrt.cuda import Buffer, CudaDevice
from ensemble_builder.compilers.tensorrt.number_types import STORED, from_stored, meaning, to_stored
from ensemble_builder.compilers.tensorrt.samples import EngineInput, Range, Shape
from ensembles_api.contract import Document

WARM_UPS = 3
FEWEST_RUNS, MOST_RUNS = 10, 200
SECONDS = 0.5
"""Time one shape is measured for, between the fewest and the most runs."""


class RunError(Exception):
    """TensorRT refuses the engine, the shapes or the run."""


class Speed(Document):
    """Of runs on the GPU alone, data in place. `p50_ms`, `p99_ms`: of one run. `per_second`: of runs queued
    back to back, times the batch.
    """

    runs: int
    p50_ms: float
    p99_ms: float
    per_second: float


@dataclass(frozen=True)
class _Output:
    name: str
    type: str


class Runner:
    """An engine with one execution context for each profile that is used."""

    def __init__(self, tensorrt: Any, logger: Any, plan: bytes, device: CudaDevice) -> None:
        """Raises RunError where the engine does not load here."""
        self._tensorrt = tensorrt
        self._device = device
        free = device.free_memory()
        # The runtime must outlive the engine.
        self._runtime = tensorrt.Runtime(logger)
        # A version-compatible engine carries code of its own; this one was built by us.
        self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise RunError("the engine does not load on this GPU; the Job's log says why")
        self._free_before = free
        self._contexts: dict[int, Any] = {}
        self._allocators: dict[tuple[int, str], Any] = {}
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        of_outputs = tensorrt.TensorIOMode.OUTPUT
        self._outputs = [
            _Output(name, self._engine.get_tensor_dtype(name).name)
            for name in names
            if self._engine.get_tensor_mode(name) == of_outputs
        ]
        self.inputs = tuple(
            self._input(name) for name in names if self._engine.get_tensor_mode(name) != of_outputs
        )

    @property
    def memory(self) -> dict[str, int]:
        """Bytes: what the engine says it needs while running, and what is gone from the GPU since loading."""
        engine = self._engine
        name = "device_memory_size"
        stated: int = getattr(engine, f"{name}_v2" if hasattr(engine, f"{name}_v2") else name)
        used = self._free_before - self._device.free_memory()
        return {"activations": stated, "used": max(used, 0)}

    @property
    def output_types(self) -> dict[str, np.dtype[np.generic]]:
        """Output name -> type of its numbers."""
        return {output.name: meaning(output.type) for output in self._outputs}

    def _input(self, name: str) -> EngineInput:
        engine = self._engine
        is_shape = engine.is_shape_inference_io(name)
        return EngineInput(
            name=name,
            dtype=meaning(engine.get_tensor_dtype(name).name),
            ranges=tuple(
                Range(*self._shapes(name, profile), values=self._values(name, profile) if is_shape else None)
                for profile in range(engine.num_optimization_profiles)
            ),
        )

    def _shapes(self, name: str, profile: int) -> tuple[Shape, Shape, Shape]:
        fixed = tuple(self._engine.get_tensor_shape(name))
        if -1 not in fixed:
            return fixed, fixed, fixed
        low, best, high = (tuple(shape) for shape in self._engine.get_tensor_profile_shape(name, profile))
        return low, best, high

    def _values(self, name: str, profile: int) -> Any:
        """Bounds of a shape tensor's values; before TensorRT 9 under another name."""
        engine = self._engine
        if hasattr(engine, "get_tensor_profile_values"):
            found = engine.get_tensor_profile_values(profile, name)
        else:
            found = engine.get_profile_shape_input(profile, name)
        return tuple(tuple(int(value) for value in bound) for bound in found)

    def run(self, inputs: Mapping[str, Array], *, profile: int) -> dict[str, Array]:
        """Output name -> answer.

        Raises:
            RunError: for shapes that the profile does not take, or where the run fails.
            CudaOutOfMemoryError: where inputs, outputs or activations do not fit.
        """
        with _Run(self, inputs, profile) as run:
            run.enqueue()
            return run.answers()

    def measure(self, inputs: Mapping[str, Array], *, profile: int, batch: int) -> Speed:
        """How fast the same run is, again and again. Raises as `run`."""
        with _Run(self, inputs, profile) as run:
            for _ in range(WARM_UPS):
                run.enqueue()
            seconds = self._device.seconds
            # The first of all is no measure: clocks rise and memory is set up.
            once = max(seconds(run.enqueue), 1e-6)
            count = min(MOST_RUNS, max(FEWEST_RUNS, int(SECONDS / once)))
            single = sorted(seconds(run.enqueue) for _ in range(count))
            together = seconds(lambda: run.enqueue(count))
        return Speed(
            runs=count,
            p50_ms=round(single[count // 2] * 1000, 4),
            p99_ms=round(single[min(count - 1, math.ceil(count * 0.99) - 1)] * 1000, 4),
            per_second=round(batch * count / max(together, 1e-9), 1),
        )

    def context(self, profile: int) -> Any:
        if profile not in self._contexts:
            context = self._engine.create_execution_context()
            if context is None:
                raise RunError("no execution context: the GPU has probably too little memory free")
            if not context.set_optimization_profile_async(profile, self._device.stream):
                raise RunError(f"profile {profile} cannot be used")
            self._device.synchronise()
            self._contexts[profile] = context
        return self._contexts[profile]

    def hangs_on_values(self, name: str, shape: Shape) -> bool:
        """Whether an output's size hangs on values.

        Args:
            name: of the output.
            shape: as a context states it, all inputs set. One that has run may state the shape of that run:
                what was free once stays free.
        """
        return -1 in shape or any(known == name for _, known in self._allocators)

    def allocate_by(self, run: _Run, name: str, profile: int) -> None:
        """Have `run` asked for the memory of an output whose size hangs on values.

        A context keeps its allocator: the bindings keep every one that was ever set, with all that it holds.
        """
        allocator = self._allocators.get((profile, name))
        if allocator is None:
            allocator = self._allocators[profile, name] = _allocator(self._tensorrt)
            if not self.context(profile).set_output_allocator(name, allocator):
                raise RunError(f"output {name!r} takes no allocator")
        allocator.run = run

    @property
    def device(self) -> CudaDevice:
        return self._device

    @property
    def outputs(self) -> Sequence[_Output]:
        return self._outputs

    def on_host(self, name: str) -> bool:
        return bool(self._engine.get_tensor_location(name) == self._tensorrt.TensorLocation.HOST)

    def stored_type(self, name: str) -> str:
        return str(self._engine.get_tensor_dtype(name).name)


def _allocator(tensorrt: Any) -> Any:
    """For an output whose size hangs on values: passes on to `run` what TensorRT asks for and tells."""
    base: Any = tensorrt.IOutputAllocator

    class Allocator(base):  # type: ignore[misc]
        run: _Run

        def __init__(self) -> None:
            base.__init__(self)

        def reallocate_output(self, name: str, *request: int) -> int:
            """`request`: the present address, the size in bytes, its alignment."""
            return self.run.allocate(name, request[1])

        def reallocate_output_async(self, name: str, *request: int) -> int:
            """From TensorRT 10; the stream stands last."""
            return self.run.allocate(name, request[1])

        def notify_shape(self, name: str, shape: Sequence[int]) -> None:
            self.run.shaped(name, tuple(shape))

    return Allocator()


class _Run:
    """One set of inputs on the GPU, to be run once or many times; its memory is freed at the end."""

    def __init__(self, runner: Runner, inputs: Mapping[str, Array], profile: int) -> None:
        self._runner = runner
        self._device = runner.device
        self._context = runner.context(profile)
        self._profile = profile
        self._buffers: dict[str, Buffer] = {}
        self._host: dict[str, Array] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._inputs = inputs

    def __enter__(self) -> Self:
        try:
            self._set_inputs()
            self._set_outputs()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()

    def _set_inputs(self) -> None:
        context, runner = self._context, self._runner
        for name, values in self._inputs.items():
            stored = to_stored(values, runner.stored_type(name))
            if not context.set_input_shape(name, stored.shape):
                raise RunError(f"input {name!r} may not have the shape {list(stored.shape)}")
            if runner.on_host(name):
                # Kept: TensorRT reads it while the run is queued.
                self._host[name] = stored if stored.ndim else stored.reshape(1)
                context.set_tensor_address(name, int(self._host[name].ctypes.data))
                continue
            buffer = self._device.allocate(stored.nbytes)
            self._buffers[name] = buffer
            self._device.upload(buffer, stored)
            self._device.synchronise()
            context.set_tensor_address(name, buffer.address)
        lacking = context.infer_shapes()
        if lacking:
            raise RunError(f"shapes cannot be told without {', '.join(lacking)}")

    def _set_outputs(self) -> None:
        context, runner = self._context, self._runner
        for output in runner.outputs:
            shape = tuple(context.get_tensor_shape(output.name))
            dtype = STORED[output.type]
            if runner.on_host(output.name):
                self._shapes[output.name] = shape
                self._host[output.name] = np.empty(shape or (1,), dtype)
                context.set_tensor_address(output.name, int(self._host[output.name].ctypes.data))
            elif runner.hangs_on_values(output.name, shape):
                runner.allocate_by(self, output.name, self._profile)
            else:
                self._shapes[output.name] = shape
                address = self.allocate(output.name, math.prod(shape) * dtype.itemsize)
                context.set_tensor_address(output.name, address)

    def shaped(self, name: str, shape: Shape) -> None:
        """What TensorRT tells of an output as soon as it knows."""
        self._shapes[name] = shape

    def allocate(self, name: str, size: int) -> int:
        """The address of an output's memory, grown where it is too small."""
        held = self._buffers.get(name)
        if held is None or held.size < size:
            if held is not None:
                held.free()
            self._buffers[name] = self._device.allocate(size)
        return self._buffers[name].address

    def enqueue(self, times: int = 1) -> None:
        for _ in range(times):
            if not self._context.execute_async_v3(self._device.stream):
                raise RunError("the run failed; the Job's log says why")

    def answers(self) -> dict[str, Array]:
        self._device.synchronise()
        found: dict[str, Array] = {}
        for output in self._runner.outputs:
            shape = self._shapes[output.name]
            if output.name in self._host:
                values = self._host[output.name].reshape(shape)
            else:
                values = np.empty(shape, STORED[output.type])
                if values.nbytes:
                    self._device.download(self._buffers[output.name], values)
            found[output.name] = from_stored(values, output.type)
        return found
