"""Small ONNX graphs, and the compile command run on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

from ensemble_builder.commands import compile as compiling
from ensemble_builder.compilers.parameters import TensorRTParameters
from ensembles_api.contract import BuildOrder, CompileResult, OrderedProof

FIELD = "spec.models[1].tensorrt"


def compile_onnx(
    work: Path, model: bytes, *, gpu_product: str = "", proof: OrderedProof | None = None, **parameters: Any
) -> CompileResult:
    """Builds an engine of `model` in `work`; parameters are those of the order."""
    (work / "in").mkdir(parents=True, exist_ok=True)
    (work / "in" / "model.onnx").write_bytes(model)
    order = BuildOrder(
        kind="tensorrt",
        key="0" * 64,
        model="classifier",
        version=1,
        field=FIELD,
        target="gpu",
        gpu=True,
        gpu_product=gpu_product,
        inputs=(),
        proof=proof,
        parameters=TensorRTParameters.model_validate(parameters).model_dump(mode="json"),
    )
    (work / "order.json").write_bytes(order.canonical())
    result = compiling.run(work)
    for file in result.files:
        assert (work / "out" / file).stat().st_size > 1000
    return result


def model_of(graph: GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def convolution(
    shape: Sequence[int | str] = ("n", 3, 16, 16), kind: int = TensorProto.FLOAT, operator: str = "Relu"
) -> bytes:
    """x → Conv → operator → y; four channels, valid padding."""
    numbers = np.full((4, 3, 3, 3), 0.1, np.float16 if kind == TensorProto.FLOAT16 else np.float32)
    return model_of(
        helper.make_graph(
            [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node(operator, ["c"], ["y"])],
            "graph",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info("y", kind, [shape[0], 4, None, None])],
            [numpy_helper.from_array(numbers, "w")],
        )
    )


def classifier() -> bytes:
    """x → Conv → GlobalAveragePool → Flatten → Gemm → Softmax → y, and ArgMax → best; the Gemm has a name."""
    return model_of(
        helper.make_graph(
            [
                helper.make_node("Conv", ["x", "w"], ["c"]),
                helper.make_node("GlobalAveragePool", ["c"], ["p"]),
                helper.make_node("Flatten", ["p"], ["f"]),
                helper.make_node("Gemm", ["f", "m"], ["l"], "head"),
                helper.make_node("Softmax", ["l"], ["y"]),
                helper.make_node("ArgMax", ["l"], ["best"], axis=1, keepdims=0),
            ],
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, 16, 16))],
            [
                helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 10)),
                helper.make_tensor_value_info("best", TensorProto.INT64, ("n",)),
            ],
            [
                numpy_helper.from_array(np.full((4, 3, 3, 3), 0.1, np.float32), "w"),
                numpy_helper.from_array(np.full((4, 10), 0.1, np.float32), "m"),
            ],
        )
    )


def cropping(shape: Sequence[int | str] = (1, 8), count: int = 1) -> bytes:
    """y = x cut to `size` along the last axis: the value of `size`, an input, decides y's shape."""
    rank = len(shape)
    return model_of(
        helper.make_graph(
            [helper.make_node("Slice", ["x", "from", "size", "axes"], ["y"])],
            "graph",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
                helper.make_tensor_value_info("size", TensorProto.INT64, (count,)),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
            [
                numpy_helper.from_array(np.zeros(count, np.int64), "from"),
                numpy_helper.from_array(np.arange(rank - count, rank), "axes"),
            ],
        )
    )
