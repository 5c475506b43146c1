"""The picture as SVG, readable without any font of its own."""

from __future__ import annotations

from xml.sax.saxutils import escape

from ensemble_cli.drawing.layout import DARK, GREY, NORMAL, PALE, Curve, Picture, Rectangle, Words


def svg_of(picture: Picture) -> str:
    """A complete SVG document; dark text on white."""
    size = f'width="{picture.width}" height="{picture.height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="{NORMAL}">'
    body = (_element(shape) for shape in picture.shapes)
    return "\n".join([head, f'<rect {size} fill="white"/>', *body, "</svg>", ""])


def _element(shape: Rectangle | Words | Curve) -> str:
    match shape:
        case Rectangle(x, y, width, height, fill):
            place = f'x="{x}" y="{y}" width="{width}" height="{height}"'
            return f'<rect {place} rx="6" fill="{fill}" stroke="{GREY}"/>'
        case Curve():
            begin, one, two, end = (f"{x},{y}" for x, y in shape.points())
            return f'<path d="M{begin} C{one} {two} {end}" fill="none" stroke="{PALE}"/>'
        case Words(x, y, text):
            look = [f'x="{x}"', f'y="{y}"']
            look += ['font-weight="bold"'] if shape.bold else []
            look += [f'fill="{shape.colour}"'] if shape.colour != DARK else []
            look += ['text-anchor="end"'] if shape.ends else []
            look += [f'font-size="{shape.size}"'] if shape.size != NORMAL else []
            return f"<text {' '.join(look)}>{escape(text)}</text>"
