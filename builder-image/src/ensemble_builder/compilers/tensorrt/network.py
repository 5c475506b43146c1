"""The ONNX graph as TensorRT's network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import onnx

from ensemble_builder.compilers.tensorrt.graph import Graph
from ensemble_builder.compilers.tensorrt.library import Library
from ensemble_builder.compilers.tensorrt.precision import NetworkTypes
from ensemble_builder.compilers.tensorrt.report import fault
from ensembles_api.reasons import Reason

_COMPUTING = frozenset({"CONVOLUTION", "DECONVOLUTION", "FULLY_CONNECTED", "MATRIX_MULTIPLY"})
_NOT_COMPUTING = frozenset(
    {"CONSTANT", "SHAPE", "CAST", "IDENTITY", "QUANTIZE", "DEQUANTIZE", "SHUFFLE", "SLICE", "CONCATENATION"}
    | {"GATHER", "SQUEEZE", "UNSQUEEZE"}
)
"""Layers that move numbers, or change only their type."""
_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_SHOWN_ERRORS = 3
_NAMES = {
    onnx.TensorProto.FLOAT: "FLOAT",
    onnx.TensorProto.FLOAT16: "HALF",
    onnx.TensorProto.BFLOAT16: "BF16",
}
"""TensorRT's names of ONNX's types."""


def parsed(library: Library, graph: Graph) -> Any:
    """The network of an ONNX graph. Raises FaultError, InvalidModel, naming the nodes it cannot take."""
    tensorrt = library.module
    explicit = library.offer.explicit_batch
    flags = 1 << int(tensorrt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH) if explicit else 0
    network = library.builder.create_network(flags)
    parser = tensorrt.OnnxParser(network, library.logger)
    if parser.parse(bytes(graph.model.SerializeToString()), str(graph.path)):
        return network
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    told = list(dict.fromkeys(_told(graph, error) for error in errors))[:_SHOWN_ERRORS]
    raise fault(
        Reason.INVALID_MODEL,
        graph.source_field,
        f"{library.offer.name} cannot read the ONNX ({'; '.join(told) or 'see the log'}): export with "
        "operators it supports, or serve the model with onnxruntime",
    )


def _told(graph: Graph, error: Any) -> str:
    """One error of the parser: node, operator and what is wrong. TensorRT 8.6 tells no more than an index."""
    index = error.node()
    listed = graph.model.graph.node
    name = getattr(error, "node_name", str)()
    operator = getattr(error, "node_operator", str)()
    if not name and 0 <= index < len(listed):
        name, operator = listed[index].name, listed[index].op_type
    return f"node {name or index}{f', operator {operator}' if operator else ''}: {error.desc()}"


def inputs_of(network: Any) -> list[Any]:
    return [network.get_input(index) for index in range(network.num_inputs)]


def outputs_of(network: Any) -> list[Any]:
    return [network.get_output(index) for index in range(network.num_outputs)]


def _layers_of(network: Any) -> Iterator[Any]:
    return (network.get_layer(index) for index in range(network.num_layers))


def types_of(network: Any) -> NetworkTypes:
    layers = list(_layers_of(network))
    kinds = {layer.type.name for layer in layers}
    computing = [layer for layer in layers if layer.type.name in _COMPUTING]
    return NetworkTypes(
        computed=frozenset(_output_types(computing)),
        all=frozenset(_output_types(layers)),
        quantised=bool({"QUANTIZE", "DEQUANTIZE"} & kinds),
    )


def count_types(network: Any) -> dict[str, int]:
    """Operators by the type they compute in; the truth only where networks are strongly typed."""
    computing = (layer for layer in _layers_of(network) if layer.type.name not in _NOT_COMPUTING)
    results = (layer.get_output(0) for layer in computing if layer.num_outputs)
    return dict(
        sorted(Counter(tensor.dtype.name for tensor in results if not tensor.is_shape_tensor).items())
    )


def _output_types(layers: Iterable[Any]) -> Iterator[str]:
    for layer in layers:
        for index in range(layer.num_outputs):
            yield layer.get_output(index).dtype.name


def set_io_types(library: Library, network: Any, types: Mapping[str, int], *, field: str) -> None:
    """Gives inputs and outputs other types, where the builder may choose types (until TensorRT 10).

    `types` is in the order of the resource's `io`.

    Raises:
        FaultError: NotSupported.
    """
    for tensor in (*inputs_of(network), *outputs_of(network)):
        if tensor.name in types:
            name = _NAMES[types[tensor.name]]
            where = f"{field}.io[{list(types).index(tensor.name)}].dataType"
            library.offer.demand(name, library.offer.types, what="data type", field=where)
            tensor.dtype = getattr(library.module.DataType, name)


def hold_in_fp32(library: Library, network: Any, kept: AbstractSet[str], *, names: AbstractSet[str]) -> int:
    """Constrains the layers of these ONNX nodes, of all that have `names`, to FP32, where flags permit less.
    Returns how many.

    Layers that only compute shapes or move constants take no precision: TensorRT 8.6 breaks on such ones.
    """
    fp32 = library.module.DataType.FLOAT
    count = 0
    for layer in _layers_of(network):
        if layer.type.name in _NOT_COMPUTING or not made_from(layer, kept, names=names):
            continue
        outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
        if not outputs or any(tensor.dtype.name not in ("FLOAT", "HALF", "BF16") for tensor in outputs):
            continue
        if any(tensor.is_shape_tensor for tensor in outputs):
            continue
        layer.precision = fp32
        for index, tensor in enumerate(outputs):
            if not tensor.is_network_output:  # whose type `io` decides
                layer.set_output_type(index, fp32)
        count += 1
    return count


def made_from(layer: Any, kept: AbstractSet[str], *, names: AbstractSet[str]) -> bool:
    """Whether a layer was made from one of the nodes `kept`, of all that have `names`.

    Newer versions write the node into the layer's metadata; older ones only name layers after it, with a
    number for all but the first. Exporters number nodes in the same way: a node's own layer is its own.
    """
    traced = _ONNX_LAYER.findall(getattr(layer, "metadata", "") or "")
    if traced:
        return any(name in kept for name in traced)
    own = layer.name if layer.name in names else re.sub(r"_\d+$", "", layer.name)
    return own in kept
