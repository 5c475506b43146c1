"""Shapes as TensorRT tells them."""

from __future__ import annotations

from collections.abc import Iterable


def known(dims: Iterable[int]) -> tuple[int, ...] | None:
    """A shape, free axes as -1; None where not even the rank is known.

    TensorRT 8.6 has such outputs where their size hangs on values; the length of its Dims is -1 then, which
    Python refuses.
    """
    try:
        return tuple(dims)
    except ValueError:
        return None
