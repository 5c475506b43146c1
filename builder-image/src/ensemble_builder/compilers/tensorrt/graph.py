"""Edits of the ONNX graph before TensorRT reads it. External data stays where it lies."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx
from onnx import helper

from ensemble_builder.compilers.onnx_graph import inspect
from ensemble_builder.compilers.tensorrt.products import state_kernel_shapes
from ensemble_builder.compilers.tensorrt.report import fault
from ensembles_api.reasons import Reason
from ensembles_api.spec import FloatType, KeepFp32, TensorType

ELEMENT_TYPES = {
    FloatType.FP32: onnx.TensorProto.FLOAT,
    FloatType.FP16: onnx.TensorProto.FLOAT16,
    FloatType.BF16: onnx.TensorProto.BFLOAT16,
}
_LISTED = 8
"""Names that a message lists at most."""


@dataclass(frozen=True)
class Graph:
    """A model whose external data lies beside `path` and is not loaded."""

    model: onnx.ModelProto
    path: Path
    field: str
    """Of the model's tensorrt in the resource."""
    source_field: str


def load(path: Path, *, field: str, source_field: str) -> Graph:
    """The model as TensorRT should see it: nodes named, no axis named misleadingly, kernels' shapes stated.

    Raises:
        FaultError: InvalidModel where the file cannot be used or external data is missing.
    """
    for name in inspect(path, field=source_field).external_data:
        if not (path.parent / name).is_file():
            raise fault(
                Reason.INVALID_MODEL,
                source_field,
                f"the model's weights lie in {name}, which is not there: give the folder that holds both",
            )
    model = onnx.load(path, load_external_data=False)
    _name_nodes(model)
    _forget_meaningless_axes(model)
    state_kernel_shapes(model.graph)
    return Graph(model, path, field, source_field)


def _name_nodes(model: onnx.ModelProto) -> None:
    """Names those without a name or with another's: layers are traced to their node by it."""
    taken: set[str] = set()
    for index, node in enumerate(nodes(model.graph)):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}__{index}"
        taken.add(node.name)


def _forget_meaningless_axes(model: onnx.ModelProto) -> None:
    """TensorRT holds equal names to be equal sizes; exporters write `?` on every free axis."""
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    shapes = [value.type.tensor_type.shape.dim for value in values]
    named = [[dim.dim_param for dim in shape if dim.dim_param] for shape in shapes]
    meaningless = {"?"} | {name for names in named for name in names if names.count(name) > 1}
    for dim in (dim for shape in shapes for dim in shape):
        if dim.dim_param in meaningless:
            dim.ClearField("dim_param")


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs after the one that holds them."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from nodes(inner)


def kept_nodes(graph: Graph, keep: KeepFp32) -> frozenset[str]:
    """Names of the nodes that stay in FP32. Raises FaultError, InvalidSpec, for what the graph has not."""
    found = list(nodes(graph.model.graph))
    names = {node.name for node in found}
    operators = {node.op_type for node in found}
    for index, operator in enumerate(keep.ops):
        demand_known(operator, operators, f"{graph.field}.keepFp32.ops[{index}]", "operator")
    for index, name in enumerate(keep.nodes):
        demand_known(name, names, f"{graph.field}.keepFp32.nodes[{index}]", "node")
    return frozenset(keep.nodes) | {node.name for node in found if node.op_type in keep.ops}


def demand_known(name: str, existing: AbstractSet[str], field: str, what: str) -> None:
    """Raises FaultError, InvalidSpec, for a name that the graph has not."""
    if name not in existing:
        near = difflib.get_close_matches(name, existing, n=3) or sorted(existing)[:_LISTED]
        message = f"the graph has no {what} {name!r}; it has {', '.join(near)}"
        raise fault(Reason.INVALID_SPEC, field, message)


def io_types(graph: Graph, wanted: Sequence[TensorType]) -> Mapping[str, int]:
    """ONNX types by names of inputs and outputs. Raises FaultError, InvalidSpec, where one does not fit."""
    values = {value.name: value for value in (*graph.model.graph.input, *graph.model.graph.output)}
    types: dict[str, int] = {}
    for index, entry in enumerate(wanted):
        field = f"{graph.field}.io[{index}]"
        demand_known(entry.name, values.keys(), f"{field}.name", "input or output")
        if entry.name in types:
            raise fault(Reason.INVALID_SPEC, f"{field}.name", f"{entry.name!r} stands here twice: remove one")
        element = values[entry.name].type.tensor_type.elem_type
        if element not in ELEMENT_TYPES.values():
            found = onnx.TensorProto.DataType.Name(element)
            raise fault(
                Reason.INVALID_SPEC,
                f"{field}.dataType",
                f"{entry.name!r} is {found}, and only floating-point tensors can change: remove the entry",
            )
        types[entry.name] = ELEMENT_TYPES[entry.data_type]
    return types


def cast_io(graph: Graph, types: Mapping[str, int]) -> None:
    """Gives inputs and outputs other types, with a Cast between them and the rest of the graph."""
    top = graph.model.graph
    for value in top.input:
        element = value.type.tensor_type.elem_type
        if types.get(value.name, element) != element:
            inner = f"{value.name}__as_computed"
            for node in nodes(top):
                _rename(node.input, value.name, inner)
            cast = helper.make_node("Cast", [value.name], [inner], f"{value.name}__cast", to=element)
            top.node.insert(0, cast)
            value.type.tensor_type.elem_type = types[value.name]
    for value in top.output:
        element = value.type.tensor_type.elem_type
        if types.get(value.name, element) != element:
            inner = f"{value.name}__as_computed"
            for node in nodes(top):
                _rename(node.input, value.name, inner)
                _rename(node.output, value.name, inner)
            wanted = types[value.name]
            top.node.append(helper.make_node("Cast", [inner], [value.name], f"{value.name}__cast", to=wanted))
            value.type.tensor_type.elem_type = wanted


def _rename(names: Sequence[str], old: str, new: str) -> None:
    for index, name in enumerate(names):
        if name == old:
            names[index] = new  # type: ignore[index] # protobuf's repeated field


def sort(graph: onnx.GraphProto) -> None:
    """Brings nodes into the order that ONNX demands: each after what it reads, in its subgraphs too.

    Raises:
        ValueError: the graph has a cycle.
    """
    makers = {output: index for index, node in enumerate(graph.node) for output in node.output if output}
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for index, node in enumerate(graph.node):
        for inner in subgraphs(node):
            sort(inner)
        sorter.add(index, *(makers[name] for name in sorted(_read(node)) if name in makers))
    try:
        order = list(sorter.static_order())
    except CycleError as error:
        raise ValueError("the graph has a cycle") from error
    copies = []
    for index in order:
        copied = onnx.NodeProto()
        copied.CopyFrom(graph.node[index])
        copies.append(copied)
    del graph.node[:]
    graph.node.extend(copies)


def _read(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, those that its subgraphs take from outside included."""
    inner = (name for graph in subgraphs(node) for each in nodes(graph) for name in each.input)
    return {name for name in (*node.input, *inner) if name}
