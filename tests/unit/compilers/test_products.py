"""What TensorRT 8.6 must be told of convolutions and matrix products."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ensemble_builder.compilers.tensorrt.products import computed_types, quantised_types, state_kernel_shapes


def model_of(nodes: list[onnx.NodeProto], *, kind: int, given: list[onnx.TensorProto]) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, kind, ["n", 8, 16, 16]) for name in "xy")
    graph = helper.make_graph(nodes, "graph", [x], [y], given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


def convolution(kind: int, **attributes: object) -> onnx.ModelProto:
    weights = np.ones((8, 8, 3, 5), helper.tensor_dtype_to_np_dtype(kind))
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 2, 1, 2], **attributes)
    return model_of([node], kind=kind, given=[numpy_helper.from_array(weights, "w")])


def quantised() -> onnx.ModelProto:
    given = [
        numpy_helper.from_array(np.ones((8, 8, 3, 5), np.float32), "w"),
        numpy_helper.from_array(np.array(0.02, np.float32), "s"),
        numpy_helper.from_array(np.array(0, np.int8), "z"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["wq"]),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"]),
        helper.make_node("Conv", ["x", "wd"], ["y"], pads=[1, 2, 1, 2]),
    ]
    return model_of(nodes, kind=TensorProto.FLOAT, given=given)


def kernel_shapes(model: onnx.ModelProto) -> list[list[int]]:
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    return [list(attribute.ints) for attribute in attributes if attribute.name == "kernel_shape"]


@pytest.mark.parametrize("model", [convolution(TensorProto.FLOAT), quantised()])
def test_kernel_shapes_are_stated(model: onnx.ModelProto) -> None:
    state_kernel_shapes(model.graph)
    assert kernel_shapes(model) == [[3, 5]]
    onnx.checker.check_model(model, full_check=True)


def test_a_stated_kernel_shape_is_left_alone() -> None:
    model = convolution(TensorProto.FLOAT, kernel_shape=[3, 5])
    state_kernel_shapes(model.graph)
    assert kernel_shapes(model) == [[3, 5]]


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Conv", ["x", "elsewhere"], ["y"])],
        [helper.make_node("Conv", ["x"], ["y"])],
        [helper.make_node("Identity", ["w"], ["w"]), helper.make_node("Conv", ["x", "w"], ["y"])],
        [helper.make_node("Cast", [], ["w"], to=1), helper.make_node("Conv", ["x", "w"], ["y"])],
    ],
    ids=["unknown", "none", "of itself", "of nothing"],
)
def test_a_weight_of_unknown_shape_is_left_alone(nodes: list[onnx.NodeProto]) -> None:
    """What is wrong with such a graph TensorRT's parser says."""
    model = model_of(nodes, kind=TensorProto.FLOAT, given=[])
    state_kernel_shapes(model.graph)
    assert kernel_shapes(model) == []


@pytest.mark.parametrize(
    ("model", "types"),
    [
        (convolution(TensorProto.FLOAT), {"FLOAT"}),
        (convolution(TensorProto.FLOAT16), {"HALF"}),
        (convolution(TensorProto.BFLOAT16), {"BF16"}),
        (quantised(), {"FLOAT"}),
    ],
)
def test_the_types_that_the_onnx_multiplies_in(model: onnx.ModelProto, types: set[str]) -> None:
    assert computed_types(model) == types


def test_the_types_that_quantizelinear_makes() -> None:
    assert quantised_types(quantised()) == {"INT8"}
    assert quantised_types(convolution(TensorProto.FLOAT)) == set()


def test_a_product_behind_a_cast_is_in_the_type_it_is_cast_to() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["half", "half"], ["product"]),
        helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
    ]
    assert computed_types(model_of(nodes, kind=TensorProto.FLOAT, given=[])) == {"HALF"}
