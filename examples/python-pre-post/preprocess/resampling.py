"""Resizing with numpy alone, as a server image has no imaging library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CUBIC = -0.5
"""The free parameter of the cubic kernel, as Pillow and DALI have it."""


def resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """Pixels [h, w, channels] to [height, width, channels], cubic, antialiased where it shrinks."""
    rows = _weights(pixels.shape[0], height)
    columns = _weights(pixels.shape[1], width)
    resized = np.einsum("yh,hwc->ywc", rows, pixels.astype(np.float32), optimize=True)
    resized = np.einsum("xw,ywc->yxc", columns, resized, optimize=True)
    clipped: NDArray[np.float32] = np.clip(resized, 0, 255).astype(np.float32)
    return clipped


def _weights(size: int, target: int) -> NDArray[np.float32]:
    """[target, size]: how much each source pixel adds to each target pixel; rows sum to 1."""
    scale = size / target
    stretch = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(size)[np.newaxis, :] - centres[:, np.newaxis]) / stretch
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    kernel = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))  # noqa: PLR2004 - its support
    normalised: NDArray[np.float32] = (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalised


def network_input(pixels: NDArray[np.uint8], shorter_side: int = 256, crop: int = 224) -> NDArray[np.float32]:
    """RGB [h, w, 3] → [3, crop, crop] in [-1, 1]: shorter side resized, centre cropped."""
    height, width = pixels.shape[:2]
    scale = shorter_side / min(height, width)
    resized = resize(pixels, round(height * scale), round(width * scale))
    top = (resized.shape[0] - crop) // 2
    left = (resized.shape[1] - crop) // 2
    cropped = resized[top : top + crop, left : left + crop]
    return np.ascontiguousarray(((cropped - 127.0) / 128.0).transpose(2, 0, 1), dtype=np.float32)
