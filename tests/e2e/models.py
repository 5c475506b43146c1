"""Small real models for tests."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper


def affine_onnx(*, scale: float = 2.0, width: int = 4) -> bytes:
    """Y = X * scale for FP32[-1, width]: batches, and its answers tell which model gave them."""
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", width])
    y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", width])
    factor = helper.make_tensor("scale", TensorProto.FLOAT, [1], [scale])
    graph = helper.make_graph([helper.make_node("Mul", ["X", "scale"], ["Y"])], "affine", [x], [y], [factor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
