"""Where everything of a picture stands: columns of boxes from left to right, a line for each tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ensemble_cli.asking.tensors import Tensor
from ensemble_cli.drawing.wiring import Box, Graph

WIDTH, GAP, LINE, MARGIN, BETWEEN = 200, 240, 18, 24, 28
"""Pixels: a box, the space for tensor names, a line of text, the border, two boxes above each other."""
NORMAL, SMALL = 12, 10
"""Heights of letters in pixels."""
DARK, GREY, PALE = "#000000", "#555555", "#888888"

Place = tuple[int, int]
"""x and y of a box's top left corner."""


@dataclass(frozen=True)
class Rectangle:
    x: int
    y: int
    width: int
    height: int
    fill: str


@dataclass(frozen=True)
class Words:
    """`x` is where the text begins or, with `ends`, where it ends; `y` is its base line."""

    x: int
    y: int
    text: str
    colour: str = DARK
    size: int = NORMAL
    bold: bool = False
    ends: bool = False


@dataclass(frozen=True)
class Curve:
    """Leaves `start` and reaches `end` horizontally."""

    start: Place
    end: Place

    def points(self) -> tuple[Place, Place, Place, Place]:
        """Start, two control points and end of a cubic Bézier curve."""
        middle = (self.start[0] + self.end[0]) // 2
        return self.start, (middle, self.start[1]), (middle, self.end[1]), self.end


@dataclass(frozen=True)
class Picture:
    """Later shapes lie over earlier ones."""

    width: int
    height: int
    shapes: tuple[Rectangle | Words | Curve, ...] = field(default=())


def picture_of(graph: Graph) -> Picture:
    """The whole drawing, in pixels."""
    columns = [[_end("in", graph.inputs)], *graph.columns(), [_end("out", graph.outputs)]]
    places: dict[int, Place] = {}
    heights: list[int] = []
    for at, column in enumerate(columns):
        y = MARGIN + 2 * LINE
        for box in column:
            places[id(box)] = (MARGIN + at * (WIDTH + GAP), y)
            y += _height(box) + BETWEEN
        heights.append(y)
    boxes = [box for column in columns for box in column]
    return Picture(
        width=2 * MARGIN + len(columns) * WIDTH + (len(columns) - 1) * GAP,
        height=max(heights) + MARGIN,
        shapes=(
            Words(MARGIN, MARGIN + 6, graph.name, bold=True),
            *(line for box in boxes for line in _lines_to(box, boxes, places, graph)),
            *(part for box in boxes for part in _drawn(box, places[id(box)])),
        ),
    )


def _end(name: str, tensors: tuple[Tensor, ...]) -> Box:
    """The clients' side: what they send is written, what they get is read."""
    own = tuple((tensor, tensor.name) for tensor in tensors)
    return Box(name, "clients", "", () if name == "in" else own, own if name == "in" else ())


def _height(box: Box) -> int:
    return LINE * (3 + max(len(box.reads), len(box.writes)))


def _drawn(box: Box, place: Place) -> Iterator[Rectangle | Words]:
    x, y = place
    fill = {"clients": "#eeeeee", "ensemble": "#fdf3d8"}.get(box.backend, "#e3eefb")
    about = f"{box.backend}, {box.where}" if box.where else box.backend
    yield Rectangle(x, y, WIDTH, _height(box), fill)
    yield Words(x + 8, y + LINE, box.model, bold=True)
    yield Words(x + 8, y + 2 * LINE, about, colour=GREY)


def _lines_to(box: Box, boxes: list[Box], places: dict[int, Place], graph: Graph) -> Iterator[Curve | Words]:
    for at, (own, name) in enumerate(box.reads):
        writer = next((one for one in boxes if name in {written for _, written in one.writes}), None)
        if writer is None:
            continue
        port = next(index for index, (_, written) in enumerate(writer.writes) if written == name)
        x, y = places[id(box)][0], places[id(box)][1] + LINE * (3 + at)
        begin = (places[id(writer)][0] + WIDTH, places[id(writer)][1] + LINE * (3 + port))
        tensor = graph.tensors.get(name, own)
        yield Curve(begin, (x, y))
        text = f"{name}  {tensor.data_type} {list(tensor.dims)}"
        yield Words(x - 8, y - 4, text, size=SMALL, ends=True)
