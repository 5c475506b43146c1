"""The most probable classes by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def best(
    probabilities: NDArray[np.float32], labels: Sequence[str], count: int
) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
    """[batch, classes] → names [batch, count] as UTF-8 bytes and their probabilities, most probable first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    names = np.array([[labels[index].encode() for index in row] for row in order], dtype=np.object_)
    return names, np.take_along_axis(probabilities, order, axis=1).astype(np.float32)
