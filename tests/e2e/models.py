"""Small real models for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from tests.e2e.live import Namespace


def affine_onnx(*, scale: float = 2.0, width: int = 4, kind: str = "float") -> bytes:
    """Y = X * scale for [-1, width] of float or int32: its answers tell which model gave them."""
    dtype = {"float": TensorProto.FLOAT, "int32": TensorProto.INT32}[kind]
    x = helper.make_tensor_value_info("X", dtype, ["N", width])
    y = helper.make_tensor_value_info("Y", dtype, ["N", width])
    factor = helper.make_tensor("scale", dtype, [1], [scale if kind == "float" else int(scale)])
    graph = helper.make_graph([helper.make_node("Mul", ["X", "scale"], ["Y"])], "affine", [x], [y], [factor])
    return _bytes(graph)


def multiplies_by(space: Namespace, number: float) -> list[dict[str, Any]]:
    """The models of a revision: Y = X * number, so that an answer tells which one gave it."""
    uri = space.put(f"by-{number}.onnx", affine_onnx(scale=number))
    return [{"name": "net", "onnxruntime": {"source": {"uri": uri}}}]


def ramp_onnx(width: int) -> bytes:
    """Y = X + [0, 1, 2, …] for [-1, width] of float: 4 bytes of model for each number of the answer."""
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", width])
    y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", width])
    ramp = numpy_helper.from_array(np.arange(width, dtype=np.float32), "ramp")
    return _bytes(
        helper.make_graph([helper.make_node("Add", ["X", "ramp"], ["Y"])], "ramp", [x], [y], [ramp])
    )


def _bytes(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


DOUBLING_PIPELINE = """
from nvidia.dali import fn, pipeline_def, types

@pipeline_def
def double():
    return fn.external_source(name="X", dtype=types.FLOAT, ndim=1) * 2
"""
"""A DALI pipeline that needs no GPU and builds in seconds."""

RAISES_AT_START = """
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("the weights do not fit")

    def execute(self, requests):
        return []
"""
"""A Python model that nothing finds wrong before tritonserver starts it."""

MARKER = 12345.0
ENDS_ITS_SERVER = f"""
import os
import signal

import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(pb_utils.get_input_tensor_by_name(r, "X").as_numpy()) for r in requests]

    def answer(self, data):
        if (data == {MARKER}).any():
            # A container's first process is not killed from within, but may be asked to end.
            for number in (signal.SIGKILL, signal.SIGTERM):
                os.kill(os.getppid(), number)
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", data * 7)])
"""
"""Y = X * 7; its server ends where an input holds MARKER."""
