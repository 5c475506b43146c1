"""Convolutions and matrix products of an ONNX graph: what TensorRT 8.6 does not see by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
from onnx import helper

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_COMPUTING = _CONVOLUTIONS | {"Gemm", "MatMul"}
_LEADING_AXES = 2
"""Of a convolution's weight: channels out and in (or in and out). The kernel's shape follows."""
_SAME_SHAPE = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "Identity"})
"""Operators between a weight and its convolution whose result has the shape of their first input."""
_TYPES = {
    onnx.TensorProto.FLOAT: "FLOAT",
    onnx.TensorProto.FLOAT16: "HALF",
    onnx.TensorProto.BFLOAT16: "BF16",
}
"""TensorRT's names of ONNX's types."""


_QUANTISED = {onnx.TensorProto.INT8: "INT8", onnx.TensorProto.FLOAT8E4M3FN: "FP8"}
_ZERO_POINT = 2
"""Its place among the inputs of QuantizeLinear."""


def state_kernel_shapes(graph: onnx.GraphProto) -> None:
    """Write `kernel_shape`, which ONNX leaves optional, where the weight's shape is known.

    For a convolution whose weight is computed, as that of Q/DQ layers is, TensorRT 8.6 takes the kernel's
    shape from the attribute alone, and refuses the graph without (onnx-tensorrt 8.6, convMultiInput).
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in _CONVOLUTIONS and not any(a.name == "kernel_shape" for a in node.attribute):
            # Whether the graph makes sense is the parser's to say.
            shape = _shape(node.input[1], shapes, makers) if len(node.input) > 1 else ()
            if spatial := shape[_LEADING_AXES:]:
                node.attribute.append(helper.make_attribute("kernel_shape", spatial))


def _shape(
    name: str, shapes: Mapping[str, tuple[int, ...]], makers: Mapping[str, onnx.NodeProto]
) -> tuple[int, ...]:
    """Of a weight, or of one behind operators that leave its shape alone; () where it is not known."""
    seen: set[str] = set()
    while name not in shapes:
        maker = makers.get(name)
        if maker is None or name in seen:
            return ()
        seen.add(name)
        if maker.op_type == "Constant":
            values = (attribute.t for attribute in maker.attribute if attribute.name == "value")
            return next((tuple(tensor.dims) for tensor in values), ())
        if maker.op_type not in _SAME_SHAPE or not maker.input:
            return ()
        name = maker.input[0]
    return shapes[name]


def computed_types(model: onnx.ModelProto) -> frozenset[str]:
    """TensorRT's names of the floating-point types that the ONNX multiplies in, as far as ONNX can tell.

    Where the builder may choose types (until TensorRT 10), a network parsed from a graph in half may say
    FLOAT of every layer until it is built.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    elements = dict(_elements(inferred.graph))
    found = {
        elements.get(name)
        for node in inferred.graph.node
        if node.op_type in _COMPUTING
        for name in (*node.input[:2], *node.output)
    }
    return frozenset(_TYPES[element] for element in found if element in _TYPES)


def quantised_types(model: onnx.ModelProto) -> frozenset[str]:
    """TensorRT's names of the types that QuantizeLinear makes: those of its zero points.

    TensorRT 8.6 says FLOAT of such a layer until the network is built.
    """
    elements = dict(_elements(model.graph))
    points = (node.input[_ZERO_POINT:] for node in model.graph.node if node.op_type == "QuantizeLinear")
    found = {elements.get(name) for names in points for name in names}
    return frozenset(_QUANTISED[element] for element in found if element in _QUANTISED)


def _elements(graph: onnx.GraphProto) -> Iterator[tuple[str, int]]:
    for value in (*graph.value_info, *graph.input, *graph.output):
        yield value.name, value.type.tensor_type.elem_type
    for tensor in graph.initializer:
        yield tensor.name, tensor.data_type
