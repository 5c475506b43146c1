"""The drawing as SVG: columns from left to right, a box for each model, a line for each tensor."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from ensemble_cli.asking.tensors import Tensor
from ensemble_cli.drawing.wiring import Box, Graph

WIDTH, GAP, LINE, MARGIN, BETWEEN = 200, 240, 18, 24, 28
"""Pixels: a box, the space for tensor names, a line of text, the border, two boxes above each other."""

Place = tuple[int, int]
"""x and y of a box's top left corner."""


def graph_svg(graph: Graph) -> str:
    """A complete SVG document; dark text on white, readable without any font of its own."""
    columns = [[_end("in", graph.inputs)], *graph.columns(), [_end("out", graph.outputs)]]
    places: dict[int, Place] = {}
    heights: list[int] = []
    for at, column in enumerate(columns):
        y = MARGIN + 2 * LINE
        for box in column:
            places[id(box)] = (MARGIN + at * (WIDTH + GAP), y)
            y += _height(box) + BETWEEN
        heights.append(y)
    width = 2 * MARGIN + len(columns) * WIDTH + (len(columns) - 1) * GAP
    height = max(heights) + MARGIN
    boxes = [box for column in columns for box in column]
    body = [
        f'<text x="{MARGIN}" y="{MARGIN + 6}" font-weight="bold">{escape(graph.name)}</text>',
        *(line for box in boxes for line in _lines_to(box, boxes, places, graph)),
        *(part for box in boxes for part in _drawn(box, places[id(box)])),
    ]
    size = f'width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect {size} fill="white"/>', *body, "</svg>", ""])


def _end(name: str, tensors: tuple[Tensor, ...]) -> Box:
    """The clients' side: what they send is written, what they get is read."""
    own = tuple((tensor, tensor.name) for tensor in tensors)
    return Box(name, "clients", "", () if name == "in" else own, own if name == "in" else ())


def _height(box: Box) -> int:
    return LINE * (3 + max(len(box.reads), len(box.writes)))


def _drawn(box: Box, place: Place) -> Iterator[str]:
    x, y = place
    fill = {"clients": "#eeeeee", "ensemble": "#fdf3d8"}.get(box.backend, "#e3eefb")
    about = f"{box.backend}, {box.where}" if box.where else box.backend
    yield (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{_height(box)}" rx="6" fill="{fill}" stroke="#555"/>'
    )
    yield f'<text x="{x + 8}" y="{y + LINE}" font-weight="bold">{escape(box.model)}</text>'
    yield f'<text x="{x + 8}" y="{y + 2 * LINE}" fill="#555">{escape(about)}</text>'


def _lines_to(box: Box, boxes: list[Box], places: dict[int, Place], graph: Graph) -> Iterator[str]:
    for at, (own, name) in enumerate(box.reads):
        writer = next((one for one in boxes if name in {written for _, written in one.writes}), None)
        if writer is None:
            continue
        port = next(index for index, (_, written) in enumerate(writer.writes) if written == name)
        x1, y1 = places[id(writer)][0] + WIDTH, places[id(writer)][1] + LINE * (3 + port)
        x2, y2 = places[id(box)][0], places[id(box)][1] + LINE * (3 + at)
        tensor = graph.tensors.get(name, own)
        middle = (x1 + x2) // 2
        yield (f'<path d="M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}" fill="none" stroke="#888"/>')
        text = escape(f"{name}  {tensor.data_type} {list(tensor.dims)}")
        yield f'<text x="{x2 - 8}" y="{y2 - 4}" text-anchor="end" font-size="10">{text}</text>'
