"""When a second look is worth its cost, and what two looks say together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SURE = 0.9
"""A class at least this probable is believed at first sight."""


def unsure(probabilities: NDArray[np.float32]) -> bool:
    return bool(probabilities.max() < SURE)


def mirrored(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """[1, channels, height, width], left and right swapped."""
    return np.ascontiguousarray(image[..., ::-1])


def together(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """The average, as a distribution again."""
    mean: NDArray[np.float32] = ((first + second) / 2).astype(np.float32)
    return mean
