"""The drawing for terminals: steps in order, each with what it reads and writes."""

from __future__ import annotations

from rich.markup import escape
from rich.tree import Tree

from ensemble_cli.asking.tensors import Tensor
from ensemble_cli.drawing.wiring import Box, Graph


def graph_tree(graph: Graph) -> Tree:
    """The whole graph; nested ensembles below their step."""
    batch = f"batches up to {graph.batch}" if graph.batch else "no batching"
    tree = Tree(f"[bold]{escape(graph.name)}[/bold]  {batch}")
    for tensor in graph.inputs:
        tree.add(f"[cyan]in[/cyan]   {_typed(tensor.name, tensor)}")
    for column in graph.columns():
        for box in column:
            _add_box(tree, box, graph)
    for tensor in graph.outputs:
        tree.add(f"[cyan]out[/cyan]  {_typed(tensor.name, tensor)}")
    return tree


def _add_box(tree: Tree, box: Box, graph: Graph) -> None:
    where = f" on {box.where}" if box.where else ""
    branch = tree.add(f"[bold]{escape(box.model)}[/bold]  {escape(box.backend)}{where}")
    for own, name in box.reads:
        alias = f" as {own.name}" if own.name != name else ""
        branch.add(f"<- {_typed(name, graph.tensors.get(name, own))}{escape(alias)}")
    for own, name in box.writes:
        alias = f"{own.name} as " if own.name != name else ""
        branch.add(f"-> {escape(alias)}{_typed(name, own)}")
    if box.inner:
        branch.add(graph_tree(box.inner))


def _typed(name: str, tensor: Tensor) -> str:
    return escape(f"{name}  {tensor.data_type} {list(tensor.dims)}")
