"""Sizes and values as the text detector wants them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHORTER_SIDE = 736
"""Images are enlarged until their shorter side has this many pixels: small letters are found then."""
LONGER_SIDE = 2048
STRIDE = 32
"""The network halves five times, so that both sides must be multiples of 32."""


def detector_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[height, width, 3] → [1, 3, h, w] in [-1, 1]."""
    height, width = pixels.shape[:2]
    scale = max(1.0, SHORTER_SIDE / min(height, width))
    scale = min(scale, LONGER_SIDE / max(height, width))
    target = [max(STRIDE, round(int(side * scale) / STRIDE) * STRIDE) for side in (height, width)]
    resized = resize(pixels.astype(np.float32), target[0], target[1])
    normalised: NDArray[np.float32] = ((resized / 255 - 0.5) / 0.5).astype(np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[np.newaxis])


def resize(pixels: NDArray[np.float32], height: int, width: int) -> NDArray[np.floating]:
    """Bilinear."""
    top, bottom, down = _neighbours(pixels.shape[0], height)
    left, right, across = _neighbours(pixels.shape[1], width)
    rows = pixels[top] * (1 - down)[:, None, None] + pixels[bottom] * down[:, None, None]
    resized: NDArray[np.floating] = rows[:, left] * (1 - across)[:, None] + rows[:, right] * across[:, None]
    return resized


def _neighbours(size: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each target pixel the two source pixels around it, and how near the second is."""
    position = np.clip((np.arange(target) + 0.5) * size / target - 0.5, 0, size - 1)
    first = np.floor(position).astype(np.intp)
    second = np.minimum(first + 1, size - 1)
    return first, second, (position - first).astype(np.float32)
