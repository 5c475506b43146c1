"""Stand-in for Triton's TensorRT backend where NVIDIA's image is not to be had; for tests only.

It runs the real TensorRT on the GPU (8.6, from its wheel) and follows NVIDIA's backend in what a model
repository can notice: model.plan or default_model_filename, inputs and outputs bound by name and held against
the engine, requests of one batch joined along the first axis, the profiles that instance_group lists. It
knows no CUDA graphs, ragged batches, reshape, shape tensors or formats but the linear one, and an instance
works off its batches one after the other, without overlapping copies and kernels.

Tensors stay on the GPU (DLPack), inputs and outputs, where the configuration has the parameter
FORCE_CPU_ONLY_INPUT_TENSORS=no.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backends.device import dlpack
from backends.device.cuda import CudaError, Device, DeviceArray, keeps_on_gpu

# TensorRT's names -> Triton's, and numpy's
_TYPES: Mapping[str, tuple[str, np.dtype[Any]]] = {
    "FLOAT": ("TYPE_FP32", np.dtype(np.float32)),
    "HALF": ("TYPE_FP16", np.dtype(np.float16)),
    "INT8": ("TYPE_INT8", np.dtype(np.int8)),
    "UINT8": ("TYPE_UINT8", np.dtype(np.uint8)),
    "INT32": ("TYPE_INT32", np.dtype(np.int32)),
    "BOOL": ("TYPE_BOOL", np.dtype(np.bool_)),
}
_KERNEL_ALIGNMENT = 256  # bytes; what TensorRT may rely on


class EngineError(Exception):
    """The engine, its configuration or a request do not fit together."""


@dataclass(frozen=True)
class _Tensor:
    """``shape`` is the engine's, with the batch axis; -1 is any."""

    name: str
    dtype: np.dtype[Any]
    triton_type: str
    shape: tuple[int, ...]


class TritonPythonModel:
    """One instance of an engine."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        if args["model_instance_kind"] != "GPU":
            raise EngineError(
                f"an engine runs on a GPU, the instance is of kind {args['model_instance_kind']}"
            )
        self._device = Device(int(args["model_instance_device_id"]))
        self._engine = _load(Path(args["model_repository"]) / args["model_version"], config)
        self._batched = config.get("max_batch_size", 0) > 0
        self._keeps_on_gpu = keeps_on_gpu(config)
        self._inputs, self._outputs = _tensors(self._engine)
        _validate("input", config["input"], self._inputs, batched=self._batched, whole=True)
        _validate("output", config["output"], self._outputs, batched=self._batched, whole=False)
        self._profiles = _profiles(config, self._engine)
        self._contexts = {profile: self._context(profile) for profile in self._profiles}

    def execute(self, requests: list[Any]) -> list[Any]:
        self._device.enter()
        if len(requests) > 1 and not self._batched:
            return [response for request in requests for response in self._run([request])]
        return self._run(requests)

    def _run(self, requests: Sequence[Any]) -> list[Any]:
        """Run all requests as one batch: one failure fails them all."""
        try:
            rows, inputs = self._gather(requests)
            outputs = self._compute(inputs)
            return self._responses(requests, rows, outputs)
        except (EngineError, CudaError, ValueError) as error:
            return [_failure(error) for _ in requests]

    def _context(self, profile: int) -> Any:
        context = self._engine.create_execution_context()
        if context is None:
            raise EngineError("TensorRT makes no execution context; its message stands above")
        if profile and not context.set_optimization_profile_async(profile, self._device.stream):
            raise EngineError(f"TensorRT refuses profile {profile}")
        self._device.wait()
        return context

    def _gather(self, requests: Sequence[Any]) -> tuple[list[int], dict[str, Any]]:
        """Return the rows of each request, and every input as one array on the GPU."""
        rows: list[int] = []
        joined: dict[str, Any] = {}
        for tensor in self._inputs:
            parts = [_read(pb_utils.get_input_tensor_by_name(request, tensor.name)) for request in requests]
            rows = [part.shape[0] if part.shape else 1 for part in parts]
            joined[tensor.name] = self._join(tensor, parts)
        return rows, joined

    def _join(self, tensor: _Tensor, parts: Sequence[Any]) -> Any:
        first = parts[0]
        if any(part.shape[1:] != first.shape[1:] or part.dtype != tensor.dtype for part in parts):
            raise EngineError(f"the requests of one batch differ in the shape or type of {tensor.name}")
        if len(parts) == 1 and isinstance(first, dlpack.Lent) and first.pointer % _KERNEL_ALIGNMENT == 0:
            return first
        shape = (sum(part.shape[0] for part in parts), *first.shape[1:]) if len(parts) > 1 else first.shape
        array = DeviceArray(
            self._device.take(max(1, sum(part.nbytes for part in parts))),
            self._device.index,
            tensor.dtype,
            shape,
        )
        position = array.pointer
        for part in parts:
            if isinstance(part, dlpack.Lent):
                self._device.copy(position, part.pointer, part.nbytes)
            else:
                self._device.upload(position, part)
            position += part.nbytes
        self._device.wait()  # what was copied from may go now
        return array

    def _compute(self, inputs: Mapping[str, Any]) -> dict[str, DeviceArray]:
        context = self._fitting({name: array.shape for name, array in inputs.items()})
        for name, array in inputs.items():
            context.set_tensor_address(name, array.pointer)
        outputs = {}
        for tensor in self._outputs:
            shape = tuple(context.get_tensor_shape(tensor.name))
            if any(length < 0 for length in shape):
                raise EngineError(
                    f"the shape of {tensor.name} depends on the data, which is not followed here"
                )
            size = int(np.prod(shape, dtype=np.int64)) * tensor.dtype.itemsize
            array = DeviceArray(self._device.take(max(1, size)), self._device.index, tensor.dtype, shape)
            context.set_tensor_address(tensor.name, array.pointer)
            outputs[tensor.name] = array
        if not context.execute_async_v3(self._device.stream):
            raise EngineError("TensorRT could not run the engine; its message stands in the server's log")
        self._device.wait()
        return outputs

    def _fitting(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Return the context of the first profile that takes these shapes, with the shapes set."""
        for profile in self._profiles:
            if all(self._allows(profile, name, shape) for name, shape in shapes.items()):
                context = self._contexts[profile]
                if all(context.set_input_shape(name, shape) for name, shape in shapes.items()):
                    return context
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise EngineError(f"no profile of the engine takes {listed}")

    def _allows(self, profile: int, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, profile)
        bounds = zip(tuple(low), shape, tuple(high), strict=False)
        return len(tuple(low)) == len(shape) and all(least <= size <= most for least, size, most in bounds)

    def _responses(
        self, requests: Sequence[Any], rows: Sequence[int], outputs: Mapping[str, DeviceArray]
    ) -> list[Any]:
        responses, start = [], 0
        for request, count in zip(requests, rows, strict=True):
            parts = {
                name: array.rows(start, start + count) if self._batched else array
                for name, array in outputs.items()
                if name in request.requested_output_names()
            }
            tensors = [self._tensor(name, part) for name, part in parts.items()]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            start += count
        return responses

    def _tensor(self, name: str, part: DeviceArray) -> Any:
        if self._keeps_on_gpu:
            return pb_utils.Tensor.from_dlpack(name, dlpack.capsule(part))
        return pb_utils.Tensor(name, self._device.download(part))


def _load(version_folder: Path, config: Mapping[str, Any]) -> Any:
    path = version_folder / (config.get("default_model_filename") or "model.plan")
    if not path.is_file():
        raise EngineError(f"unable to find '{path}'")
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    tensorrt.init_libnvinfer_plugins(logger, "")
    # The runtime must outlive the engine, which holds no reference to it.
    _runtimes.append(tensorrt.Runtime(logger))
    engine = _runtimes[-1].deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise EngineError(f"TensorRT {tensorrt.__version__} cannot load {path}; its message stands above")
    return engine


_runtimes: list[Any] = []


def _tensors(engine: Any) -> tuple[list[_Tensor], list[_Tensor]]:
    inputs: list[_Tensor] = []
    outputs: list[_Tensor] = []
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        type_name = engine.get_tensor_dtype(name).name
        if type_name not in _TYPES:
            raise EngineError(f"{name} is of TensorRT's type {type_name}, which is not followed here")
        triton_type, dtype = _TYPES[type_name]
        found = _Tensor(name, dtype, triton_type, tuple(engine.get_tensor_shape(name)))
        is_output = engine.get_tensor_mode(name) == tensorrt.TensorIOMode.OUTPUT
        (outputs if is_output else inputs).append(found)
    return inputs, outputs


def _validate(
    kind: str, entries: Sequence[Any], tensors: Iterable[_Tensor], *, batched: bool, whole: bool
) -> None:
    known = {tensor.name: tensor for tensor in tensors}
    for entry in entries:
        tensor = known.get(entry["name"])
        if tensor is None:
            raise EngineError(f"unexpected {kind} '{entry['name']}'; the engine has {', '.join(known)}")
        dims = ([-1] if batched else []) + [int(length) for length in entry["dims"]]
        same_length = len(dims) == len(tensor.shape)
        if not same_length or any(
            a != b and -1 not in {a, b} for a, b in zip(dims, tensor.shape, strict=True)
        ):
            raise EngineError(
                f"{kind} '{tensor.name}': the engine has {list(tensor.shape)}, the configuration {dims}"
            )
        if entry["data_type"] != tensor.triton_type:
            stated = entry["data_type"]
            raise EngineError(
                f"{kind} '{tensor.name}': the engine has {tensor.triton_type}, the configuration {stated}"
            )
    missing = known.keys() - {entry["name"] for entry in entries}
    if whole and missing:
        raise EngineError(f"the configuration lacks {kind} {', '.join(sorted(missing))}")


def _profiles(config: Mapping[str, Any], engine: Any) -> list[int]:
    """Profiles that instance groups name; the first one where none does, as the backend has it."""
    named = {
        int(profile) for group in config.get("instance_group", []) for profile in group.get("profile", [])
    }
    beyond = [profile for profile in named if profile >= engine.num_optimization_profiles]
    if beyond:
        raise EngineError(
            f"instance_group names profile {beyond[0]}; the engine has {engine.num_optimization_profiles}"
        )
    return sorted(named or {0})


def _read(tensor: Any) -> Any:
    """An input on the GPU as a loan, one on the CPU as a contiguous array."""
    if tensor.is_cpu():
        return np.ascontiguousarray(tensor.as_numpy())
    return dlpack.borrow(tensor.to_dlpack)


def _failure(error: Exception) -> Any:
    print(f"tensorrt: {error}", file=sys.stderr, flush=True)
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(f"TensorRT: {error}"))
