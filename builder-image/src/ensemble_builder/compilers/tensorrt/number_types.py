"""TensorRT's types as NumPy's. NumPy has no bfloat16: its bits travel as uint16 and are widened to FP32."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ensemble_builder.compilers.tensorrt.accuracy import Array

STORED: Mapping[str, np.dtype[np.generic]] = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "BF16": np.dtype(np.uint16),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "BOOL": np.dtype(np.bool_),
}
"""TensorRT's name -> how its numbers lie in memory."""


def meaning(type_name: str) -> np.dtype[np.generic]:
    """The type to compute with: of what is stored, but FP32 for BF16."""
    return np.dtype(np.float32) if type_name == "BF16" else STORED[type_name]


def to_stored(values: Array, type_name: str) -> Array:
    """Numbers as the engine takes them, shaped alike and contiguous; BF16 to the nearest, ties to even."""
    if type_name != "BF16":
        return np.asarray(values, STORED[type_name], order="C")
    bits = np.asarray(values, np.float32, order="C").view(np.uint32)
    return np.asarray((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, np.uint16)


def from_stored(values: Array, type_name: str) -> Array:
    """The reverse of `to_stored`."""
    if type_name != "BF16":
        return values
    # An operation on an array without axes gives a number of NumPy's, no array.
    return np.asarray(values.astype(np.uint32) << 16).view(np.float32)


def rounded(values: Array, type_name: str) -> Array:
    """Numbers as the engine sees them: a reference must be asked about the same ones."""
    return from_stored(to_stored(values, type_name), type_name)
