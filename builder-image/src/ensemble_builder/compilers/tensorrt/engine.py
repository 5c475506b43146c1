"""Builds an engine with TensorRT's Python API. A process of its own: parsers and tactics are native code.

    python -m ensemble_builder.compilers.tensorrt.engine JOB

JOB is a JSON file (`Job`); report.json (`Report`) and, without a fault, model.plan are written beside it.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx

from ensemble_builder.compilers.onnx_graph import inspect
from ensemble_builder.compilers.parameters import TensorRTParameters
from ensemble_builder.compilers.tensorrt.precision import NetworkTypes, flags
from ensemble_builder.compilers.tensorrt.profiles import NetworkTensor, Plan, Wanted, plan
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Document, Fault
from ensembles_api.reasons import Reason

MODULES = ("tensorrt", "tensorrt_bindings", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""TensorRT as the bindings' wheels name it. Triton serves no RTX engine: they prove builds without a GPU."""
PLAN = "model.plan"
TRITON_TYPES = {
    "FLOAT": "TYPE_FP32",
    "HALF": "TYPE_FP16",
    "BF16": "TYPE_BF16",
    "INT8": "TYPE_INT8",
    "UINT8": "TYPE_UINT8",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "BOOL": "TYPE_BOOL",
}
_COMPUTING = frozenset({"CONVOLUTION", "DECONVOLUTION", "FULLY_CONNECTED", "MATRIX_MULTIPLY"})


class Job(Document):
    model: str
    field: str
    model_field: str
    parameters: TensorRTParameters


class EngineTensor(Document):
    """`type`: TensorRT's name. `shape`: with the batch axis; -1 is any."""

    name: str
    type: str
    shape: tuple[int, ...]


class Report(Document):
    """`read_from`: engine, or network where the engine cannot be loaded here (RTX without a GPU)."""

    fault: Fault | None = None
    inputs: tuple[EngineTensor, ...] = ()
    outputs: tuple[EngineTensor, ...] = ()
    batchable: bool = False
    limit: int = 0
    profiles: int = 0
    read_from: str = ""
    version: str = ""
    gpu: str = ""
    half_layers: int | None = None
    seconds: float = 0


def main() -> None:
    path = Path(sys.argv[1])
    job = Job.model_validate_json(path.read_bytes())
    try:
        report, engine = _build(job)
        path.with_name(PLAN).write_bytes(engine)
    except FaultError as error:
        report = Report(fault=error.fault)
    path.with_name("report.json").write_text(report.model_dump_json())


def _build(job: Job) -> tuple[Report, memoryview]:
    tensorrt = load_tensorrt(job.parameters.tensorrt_version)
    logger = _logger(tensorrt)
    tensorrt.init_libnvinfer_plugins(logger, "")
    builder = tensorrt.Builder(logger)
    network = _parsed(tensorrt, builder, logger, job)
    wanted = Wanted(
        profiles=job.parameters.profiles,
        max_batch_size=job.parameters.max_batch_size,
        opt_batch_size=job.parameters.opt_batch_size,
        field=job.field,
        model_field=job.model_field,
    )
    _refuse_shape_tensors(network, job)
    ranges = plan(wanted, *(tuple(map(_tensor, side)) for side in (_inputs(network), _outputs(network))))
    config = _config(tensorrt, builder, network, ranges, job)
    began = time.monotonic()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise _fault(
            Reason.COMPILE_FAILED,
            job.field,
            f"TensorRT could not build the engine: {logger.last_error or 'the log of the Job says why'}",
        )
    seconds = round(time.monotonic() - began, 1)
    report = _read_back(tensorrt, logger, network, engine)
    return (
        report.model_copy(
            update={
                "batchable": ranges.batchable,
                "limit": ranges.limit,
                "profiles": len(ranges.ranges),
                "version": str(tensorrt.__version__),
                "gpu": _gpu_name(),
                "seconds": seconds,
            }
        ),
        engine,
    )


def _fault(code: Reason, field: str, message: str) -> FaultError:
    return FaultError(Fault(code=code, field=field, message=message))


def load_tensorrt(wanted: str) -> Any:
    """The module of TensorRT's Python API. Raises FaultError: NotSupported, ReleaseMismatch."""
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError):
            continue
        version = str(module.__version__)
        if wanted and version.split(".")[: wanted.count(".") + 1] != wanted.split("."):
            raise _fault(
                Reason.RELEASE_MISMATCH,
                "spec.runtime",
                f"the builder image has TensorRT {version}, the server has {wanted}: an engine loads "
                "only in the TensorRT that built it; use the builder image of the server's release",
            )
        return module
    raise _fault(
        Reason.NOT_SUPPORTED,
        "spec.runtime",
        "this builder image has no TensorRT with Python bindings: use the builder image of a release with "
        "a GPU server, or serve this model with onnxruntime",
    )


def _logger(tensorrt: Any) -> Any:
    """Prints what TensorRT says and keeps its last error, which its API does not return."""
    base: Any = tensorrt.ILogger

    class Logger(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.last_error = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (self.ERROR, self.INTERNAL_ERROR):
                self.last_error = " ".join(message.split())[:600]
            if severity != self.VERBOSE:
                print(f"[{severity.name}] {message}", flush=True)  # noqa: T201 - the Job's log

    return Logger()


def _parsed(tensorrt: Any, builder: Any, logger: Any, job: Job) -> Any:
    explicit = getattr(tensorrt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(1 << int(explicit) if explicit is not None else 0)
    parser = tensorrt.OnnxParser(network, logger)
    if parser.parse(_unambiguous(job), job.model):
        return network
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    listed = "; ".join(f"node {error.node()}: {error.desc()}" for error in errors[:3])
    raise _fault(
        Reason.INVALID_MODEL,
        f"{job.field}.source",
        f"TensorRT cannot read the ONNX ({listed or 'see the log'}): export with operators it supports, or "
        "serve the model with onnxruntime",
    )


def _unambiguous(job: Job) -> bytes:
    """The model without meaningless names of axes: TensorRT holds equal names to be equal sizes.

    Exporters write `?` on every free axis, so that height and width would have to agree.
    """
    inspect(Path(job.model), field=f"{job.field}.source")
    model = onnx.load(job.model, load_external_data=False)
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    shapes = [value.type.tensor_type.shape.dim for value in values]
    named = [[dim.dim_param for dim in shape if dim.dim_param] for shape in shapes]
    meaningless = {"?"} | {name for names in named for name in names if names.count(name) > 1}
    for dim in (dim for shape in shapes for dim in shape):
        if dim.dim_param in meaningless:
            dim.ClearField("dim_param")
    return bytes(model.SerializeToString())


def _inputs(network: Any) -> list[Any]:
    return [network.get_input(index) for index in range(network.num_inputs)]


def _outputs(network: Any) -> list[Any]:
    return [network.get_output(index) for index in range(network.num_outputs)]


def _tensor(tensor: Any) -> NetworkTensor:
    return NetworkTensor(tensor.name, tuple(tensor.shape))


def _refuse_shape_tensors(network: Any, job: Job) -> None:
    for tensor in _inputs(network):
        if tensor.is_shape_tensor:
            raise _fault(
                Reason.NOT_SUPPORTED,
                f"{job.field}.source",
                f"input {tensor.name!r} decides shapes by its value: make it a constant when exporting",
            )


def _config(tensorrt: Any, builder: Any, network: Any, ranges: Plan, job: Job) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED
    names = {name for name in dir(tensorrt.BuilderFlag) if name.isupper()}
    wanted = flags(job.parameters.precision, _types(network), available=names, field=job.field)
    for name, on in wanted.items():
        flag = getattr(tensorrt.BuilderFlag, name)
        (config.set_flag if on else config.clear_flag)(flag)
    for index, shapes in enumerate(ranges.ranges):
        profile = builder.create_optimization_profile()
        for entry in shapes:
            profile.set_shape(entry.name, tuple(entry.min), tuple(entry.opt), tuple(entry.max))
        if config.add_optimization_profile(profile) < 0:
            raise _fault(
                Reason.INVALID_SPEC,
                f"{job.field}.profiles[{index}]",
                "TensorRT refuses it; the Job's log says why",
            )
    return config


def _types(network: Any) -> NetworkTypes:
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = {layer.type.name for layer in layers}
    computing = [layer for layer in layers if layer.type.name in _COMPUTING]
    return NetworkTypes(
        computed=frozenset(_output_types(computing)),
        all=frozenset(_output_types(layers)),
        quantised=bool({"QUANTIZE", "DEQUANTIZE"} & kinds),
    )


def _output_types(layers: Iterable[Any]) -> Iterator[str]:
    for layer in layers:
        for index in range(layer.num_outputs):
            yield layer.get_output(index).dtype.name


def _read_back(tensorrt: Any, logger: Any, network: Any, data: Any) -> Report:
    loaded = tensorrt.Runtime(logger).deserialize_cuda_engine(data)
    if loaded is None and "rtx" not in tensorrt.__name__:
        raise _fault(
            Reason.COMPILE_FAILED, "", "the engine does not load where it was built; read the Job's log"
        )
    inputs, outputs = _engine_tensors(tensorrt, loaded) if loaded else _network_tensors(network)
    return Report(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        read_from="engine" if loaded else "network",
        half_layers=_half_layers(tensorrt, loaded) if loaded else None,
    )


def _engine_tensors(tensorrt: Any, engine: Any) -> tuple[list[EngineTensor], list[EngineTensor]]:
    sides: tuple[list[EngineTensor], list[EngineTensor]] = ([], [])
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        is_output = engine.get_tensor_mode(name) == tensorrt.TensorIOMode.OUTPUT
        sides[is_output].append(
            EngineTensor(
                name=name, type=engine.get_tensor_dtype(name).name, shape=tuple(engine.get_tensor_shape(name))
            )
        )
    return sides


def _network_tensors(network: Any) -> tuple[list[EngineTensor], list[EngineTensor]]:
    inputs, outputs = (
        [EngineTensor(name=tensor.name, type=tensor.dtype.name, shape=tuple(tensor.shape)) for tensor in side]
        for side in (_inputs(network), _outputs(network))
    )
    return inputs, outputs


def _half_layers(tensorrt: Any, engine: Any) -> int:
    """Tensors in half precision, as far as the engine's inspector names them."""
    text: str = engine.create_engine_inspector().get_engine_information(tensorrt.LayerInformationFormat.JSON)
    return text.count("Half") + text.count("FP16")


def _gpu_name() -> str:
    """Name of the first GPU; empty without a driver."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    name = ctypes.create_string_buffer(256)
    device = ctypes.c_int()
    failed = cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0)
    return "" if failed or cuda.cuDeviceGetName(name, len(name), device) else name.value.decode()


if __name__ == "__main__":
    main()
