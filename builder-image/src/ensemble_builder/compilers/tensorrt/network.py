"""The ONNX file as TensorRT's network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx

from ensemble_builder.compilers.onnx_graph import inspect
from ensemble_builder.compilers.tensorrt.precision import NetworkTypes
from ensemble_builder.compilers.tensorrt.report import Job, fault
from ensembles_api.reasons import Reason

_COMPUTING = frozenset({"CONVOLUTION", "DECONVOLUTION", "FULLY_CONNECTED", "MATRIX_MULTIPLY"})


def parsed(tensorrt: Any, builder: Any, logger: Any, job: Job) -> Any:
    """The network of the job's ONNX file. Raises FaultError: InvalidModel."""
    explicit = getattr(tensorrt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(1 << int(explicit) if explicit is not None else 0)
    parser = tensorrt.OnnxParser(network, logger)
    if parser.parse(_unambiguous(job), job.model):
        return network
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    listed = "; ".join(f"node {error.node()}: {error.desc()}" for error in errors[:3])
    raise fault(
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


def inputs_of(network: Any) -> list[Any]:
    return [network.get_input(index) for index in range(network.num_inputs)]


def outputs_of(network: Any) -> list[Any]:
    return [network.get_output(index) for index in range(network.num_outputs)]


def refuse_shape_tensors(network: Any, job: Job) -> None:
    for tensor in inputs_of(network):
        if tensor.is_shape_tensor:
            raise fault(
                Reason.NOT_SUPPORTED,
                f"{job.field}.source",
                f"input {tensor.name!r} decides shapes by its value: make it a constant when exporting",
            )


def types_of(network: Any) -> NetworkTypes:
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
