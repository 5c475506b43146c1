"""Folding constants in an ONNX graph.

PyTorch writes every padding as a chain of Cast, ConstantOfShape, Concat, Reshape, Slice and Transpose.
Servers fold them at load; TensorRT parsers turn them into hundreds of INT64 layers first. Folded here, once.
"""

from __future__ import annotations

import onnx
import onnx.numpy_helper
from onnx.reference import ReferenceEvaluator


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with every node that reads only constants replaced by its value; unused ones dropped."""
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    opsets = {entry.domain: entry.version for entry in folded.opset_import}
    kept = []
    for node in graph.node:
        if any(name and name not in values for name in node.input) or node.op_type.startswith("Random"):
            kept.append(node)
            continue
        results = ReferenceEvaluator(node, opsets=opsets).run(
            list(node.output), {name: values[name] for name in node.input if name}
        )
        values.update(zip(node.output, results, strict=True))
    used = {name for node in kept for name in node.input} | {output.name for output in graph.output}
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend(
        onnx.numpy_helper.from_array(values[name], name) for name in sorted(used & values.keys())
    )
    onnx.checker.check_model(folded, full_check=True)
    return folded
