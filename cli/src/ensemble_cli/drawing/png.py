"""The picture as PNG, for where no SVG can be shown: chats, wikis, slides."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from ensemble_cli.drawing.layout import GREY, PALE, Curve, Picture, Place, Rectangle, Words

SCALE = 2
"""Pixels of the file for one of the picture: sharp on the screens of today."""
MOST_PIXELS = 100_000_000
"""Of a file: larger ones are refused by those who show them, and take gigabytes here."""
PIECES = 32
"""Straight lines that a curve is drawn of."""


def png_of(picture: Picture) -> bytes:
    """A PNG file; dark text on white.

    Raises:
        ValueError: it would be too large.
    """
    width, height = picture.width * SCALE, picture.height * SCALE
    if width * height > MOST_PIXELS:
        message = f"a picture of {width}x{height} is too large for PNG: write an SVG"
        raise ValueError(message)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for shape in picture.shapes:
        _draw(draw, shape)
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _draw(draw: ImageDraw.ImageDraw, shape: Rectangle | Words | Curve) -> None:
    match shape:
        case Rectangle(x, y, width, height, fill):
            corners = [(SCALE * x, SCALE * y), (SCALE * (x + width), SCALE * (y + height))]
            draw.rounded_rectangle(corners, radius=6 * SCALE, fill=fill, outline=GREY, width=SCALE)
        case Curve():
            draw.line(_bent(shape), fill=PALE, width=SCALE, joint="curve")
        case Words(x, y, text):
            draw.text(
                (SCALE * x, SCALE * y),
                text,
                fill=shape.colour,
                font=ImageFont.load_default(SCALE * shape.size),
                anchor="rs" if shape.ends else "ls",
                stroke_width=0.25 * SCALE if shape.bold else 0,
            )


def _bent(curve: Curve) -> list[Place]:
    """Points of a cubic Bézier curve, by its polynomial."""
    a, b, c, d = curve.points()
    points: list[Place] = []
    for piece in range(PIECES + 1):
        t = piece / PIECES
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
        x, y = (
            sum(weight * point[axis] for weight, point in zip(weights, (a, b, c, d), strict=True))
            for axis in (0, 1)
        )
        points.append((round(SCALE * x), round(SCALE * y)))
    return points
