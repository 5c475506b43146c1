"""Lines of text cut out of the image and laid into batches."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

HEIGHT = 48
VIEW_WIDTH = 192
"""Width of the direction classifier's input."""
LEAST_WIDTH = 320
"""Least width of the recogniser's input."""
UPRIGHT = 1.5
"""A region this many times higher than wide is a line that runs downwards: it is turned."""

Image = NDArray[np.float32]


def cut_out(
    pixels: NDArray[np.uint8], boxes: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Cuts every box out of [height, width, 3].

    Returns:
        lines [n, 3, 48, widest] and views [n, 3, 48, 192], in [-1, 1] with zeros at the right, and the
        width [n] that each line really has. Without boxes n is 1, an empty line: models need a batch.
    """
    if not len(boxes):
        return (
            np.zeros((1, 3, HEIGHT, LEAST_WIDTH), np.float32),
            np.zeros((1, 3, HEIGHT, VIEW_WIDTH), np.float32),
            np.ones(1, np.int32),
        )
    turned = [_turned(box) for box in boxes]
    ratios = [_ratio(box) for box in turned]
    widest = max(LEAST_WIDTH, *(math.floor(HEIGHT * ratio) for ratio in ratios))
    widths = [min(widest, math.ceil(HEIGHT * ratio)) for ratio in ratios]
    lines = [_padded(_sample(pixels, box, width), widest) for box, width in zip(turned, widths, strict=True)]
    views = [
        _padded(_sample(pixels, box, min(VIEW_WIDTH, width)), VIEW_WIDTH)
        for box, width in zip(turned, widths, strict=True)
    ]
    return np.stack(lines), np.stack(views), np.array(widths, np.int32)


def _extent(box: NDArray[np.float32]) -> tuple[int, int]:
    """Width and height in whole pixels."""
    width = max(np.linalg.norm(box[0] - box[1]), np.linalg.norm(box[2] - box[3]))
    height = max(np.linalg.norm(box[0] - box[3]), np.linalg.norm(box[1] - box[2]))
    return max(1, int(width)), max(1, int(height))


def _turned(box: NDArray[np.float32]) -> NDArray[np.float32]:
    width, height = _extent(box)
    return np.roll(box, -1, axis=0) if height / width >= UPRIGHT else box


def _ratio(box: NDArray[np.float32]) -> float:
    width, height = _extent(box)
    return width / height


def _sample(pixels: NDArray[np.uint8], box: NDArray[np.float32], width: int) -> Image:
    """The box as [HEIGHT, width, 3] in [-1, 1], bilinear."""
    across = ((np.arange(width) + 0.5) / width)[np.newaxis, :, np.newaxis]
    down = ((np.arange(HEIGHT) + 0.5) / HEIGHT)[:, np.newaxis, np.newaxis]
    top = box[0] * (1 - across) + box[1] * across
    bottom = box[3] * (1 - across) + box[2] * across
    position = top * (1 - down) + bottom * down - 0.5
    limit = np.array([pixels.shape[1] - 1, pixels.shape[0] - 1])
    position = np.clip(position, 0, limit)
    first = np.floor(position).astype(np.intp)
    second = np.minimum(first + 1, limit)
    part = (position - first)[..., np.newaxis]
    (x0, y0), (x1, y1) = np.moveaxis(first, -1, 0), np.moveaxis(second, -1, 0)
    upper = pixels[y0, x0] * (1 - part[..., 0, :]) + pixels[y0, x1] * part[..., 0, :]
    lower = pixels[y1, x0] * (1 - part[..., 0, :]) + pixels[y1, x1] * part[..., 0, :]
    sampled: Image = ((upper * (1 - part[..., 1, :]) + lower * part[..., 1, :]) / 127.5 - 1).astype(
        np.float32
    )
    return sampled


def _padded(image: Image, width: int) -> NDArray[np.float32]:
    """[height, w, 3] → [3, height, width], zeros at the right."""
    padded = np.zeros((3, image.shape[0], width), np.float32)
    padded[:, :, : image.shape[1]] = image.transpose(2, 0, 1)
    return padded
