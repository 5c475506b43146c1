"""What is drawn: models as boxes, tensors as lines between them, from their configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ensemble_cli.asking.tensors import Tensor, model_view

Config = Mapping[str, Any]
"""A model's config in JSON, names as in model_config.proto."""
DEEPEST = 16
"""Ensembles in ensembles; a server refuses circles, a file may hold one."""


@dataclass(frozen=True)
class Box:
    """A model in its place. `reads` and `writes`: (its own tensor, the graph's name of it)."""

    model: str
    backend: str
    where: str
    reads: tuple[tuple[Tensor, str], ...]
    writes: tuple[tuple[Tensor, str], ...]
    inner: Graph | None = None
    """Where the model is an ensemble itself."""


@dataclass(frozen=True)
class Graph:
    """An ensemble, or a single model as the one box of its graph."""

    name: str
    batch: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    boxes: tuple[Box, ...]

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """The graph's name of a tensor -> its type and shape, as its writer has it."""
        found = {name: own for box in self.boxes for own, name in box.writes}
        return {**found, **{tensor.name: tensor for tensor in (*self.inputs, *self.outputs)}}

    def columns(self) -> list[list[Box]]:
        """Boxes by the longest way from an input, so that lines lead to the right only."""
        depth = {tensor.name: 0 for tensor in self.inputs}
        placed: list[list[Box]] = []
        waiting = list(self.boxes)
        while waiting:
            # A tensor that nobody writes hinders no one: drawing says what is, and judges nothing.
            written = {name for box in waiting for _, name in box.writes}
            free = [box for box in waiting if not written & {name for _, name in box.reads}] or waiting[:1]
            for box in free:
                column = max((depth.get(name, 0) for _, name in box.reads), default=0)
                while len(placed) <= column:
                    placed.append([])
                placed[column].append(box)
                depth |= {name: column + 1 for _, name in box.writes}
                waiting.remove(box)
        return placed


def graph_of(name: str, config_of: Callable[[str], Config], *, depth: int = 0) -> Graph:
    """The graph of a model.

    Args:
        name: of the model.
        config_of: a model's config by its name.
        depth: ensembles around it.
    """
    config = config_of(name)
    view = model_view(config)
    steps = config.get("ensemble_scheduling", {}).get("step", [])
    if steps and depth < DEEPEST:
        boxes = tuple(_box_of_step(step, config_of, depth) for step in steps)
    else:
        own = tuple((tensor, tensor.name) for tensor in view.inputs)
        boxes = (_box(config, own, tuple((tensor, tensor.name) for tensor in view.outputs), None),)
    return Graph(name, int(config.get("max_batch_size", 0)), view.inputs, view.outputs, boxes)


def _box_of_step(step: Config, config_of: Callable[[str], Config], depth: int) -> Box:
    config = config_of(step["model_name"])
    view = model_view(config)
    reads = _mapped(view.inputs, step.get("input_map", {}))
    writes = _mapped(view.outputs, step.get("output_map", {}))
    nested = bool(config.get("ensemble_scheduling", {}).get("step"))
    return _box(
        config, reads, writes, graph_of(step["model_name"], config_of, depth=depth + 1) if nested else None
    )


def _mapped(tensors: tuple[Tensor, ...], names: Mapping[str, str]) -> tuple[tuple[Tensor, str], ...]:
    known = {tensor.name: tensor for tensor in tensors}
    return tuple((known.get(own, Tensor(own, "?", ())), name) for own, name in names.items())


def _box(
    config: Config,
    reads: tuple[tuple[Tensor, str], ...],
    writes: tuple[tuple[Tensor, str], ...],
    inner: Graph | None,
) -> Box:
    backend = "ensemble" if inner else str(config.get("backend") or config.get("platform") or "?")
    return Box(str(config["name"]), backend, "" if inner else _where(config), reads, writes, inner)


def _where(config: Config) -> str:
    """Where instances run: of the config, which names nothing where the server may choose."""
    groups = config.get("instance_group", [])
    places = {str(group.get("kind", "KIND_AUTO")).removeprefix("KIND_").lower() for group in groups}
    counts = [int(group.get("count", 1)) for group in groups if int(group.get("count", 1)) > 1]
    times = f" x{max(counts)}" if counts else ""
    return ("/".join(sorted(places)) or "auto") + times
