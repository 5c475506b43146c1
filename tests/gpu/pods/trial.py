"""What the programs that try builds share: graphs made here, and a build order around one."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FIELD = "spec.models[0].tensorrt"
SOURCES = ["EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"]
"""TensorRT's own kernels: the image has neither cuBLAS nor cuDNN."""
Result = dict[str, Any]
Tensor = tuple[str, int, Sequence[Any]]
"""Name, type and shape."""


def model_of(
    nodes: Sequence[Any], inputs: Sequence[Tensor], outputs: Sequence[Tensor], weights: Sequence[Any]
) -> bytes:
    ins, outs = ([helper.make_tensor_value_info(*entry) for entry in side] for side in (inputs, outputs))
    graph = helper.make_graph(list(nodes), "graph", ins, outs, list(weights))
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    return bytes(model.SerializeToString())


def cropping() -> bytes:
    """y = x up to `size` along the last axis."""
    nodes = [helper.make_node("Slice", ["x", "from", "size", "axes"], ["y"])]
    inputs = [("x", TensorProto.FLOAT, [1, 64]), ("size", TensorProto.INT64, [1])]
    given = [
        numpy_helper.from_array(np.zeros(1, np.int64), "from"),
        numpy_helper.from_array(np.ones(1, np.int64), "axes"),
    ]
    return model_of(nodes, inputs, [("y", TensorProto.FLOAT, [1, None])], given)


def prepare(
    work: Path, model: bytes, proof: Result | None = None, *, gpu_product: str = "", **parameters: Any
) -> None:
    """A build's folder as its fetch leaves it. `proof`: settings of the verification; none without."""
    (work / "in").mkdir(parents=True)
    (work / "in" / "model.onnx").write_bytes(model)
    settings = {"tactic_sources": SOURCES, **parameters.pop("builder", {})}
    order = {
        "kind": "tensorrt",
        "key": "0" * 64,
        "model": "net",
        "version": 1,
        "field": FIELD,
        "gpu": True,
        "gpu_product": gpu_product,
        "inputs": [],
        "proof": None if proof is None else {"key": "1" * 64, "settings": proof},
        "parameters": {"max_batch_size": 8, "builder": settings, **parameters},
    }
    (work / "order.json").write_text(json.dumps(order))


def command(work: Path) -> list[str]:
    return [shutil.which("ensemble-builder") or "ensemble-builder", "compile", "--work", str(work)]


def built(work: Path) -> Result:
    subprocess.run(command(work), check=False, stdout=sys.stderr)
    result: Result = json.loads((work / "out" / "result.json").read_text())
    return result


def build(model: bytes, proof: Result | None = None, **parameters: Any) -> Result:
    """The result document of one build."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), model, proof, **parameters)
        return built(Path(folder))
