"""Lines that stand on their head are turned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SURE = 0.9


def upright(
    lines: NDArray[np.float32], widths: NDArray[np.int32], directions: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Turns lines [n, 3, height, widest] by 180° where directions [n, 2] (upright, reversed) say so."""
    turned = lines.copy()
    for index in np.flatnonzero(directions[:, 1] > SURE):
        line = lines[index, :, :, : widths[index]]
        turned[index, :, :, : widths[index]] = line[:, ::-1, ::-1]
    return turned
