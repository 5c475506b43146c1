""".npy files that users give: whatever their bytes are, they are an array or a reason."""

from __future__ import annotations

import io
import tokenize

import numpy as np
from numpy.typing import NDArray

MAGIC = b"\x93NUMPY"
_ODD = (
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    EOFError,
    SyntaxError,
    RecursionError,
    tokenize.TokenError,
)
"""What NumPy raises for headers that are damaged or lie (found by changing single bytes of good files)."""


def read_npy(data: bytes) -> NDArray[np.generic]:
    """The array in a file of numpy.save; archives (.npz) and pickled objects are none.

    Raises:
        ValueError: with what is wrong with the bytes, in a few words.
    """
    try:
        found: NDArray[np.generic] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except _ODD as error:
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from error
    return found
