"""The recogniser's output as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEGIBLE = 0.5
"""Mean probability of the letters below which a line is not reported."""


def alphabet(characters: Sequence[str]) -> list[str]:
    """What the recogniser's classes stand for: 0 separates letters, the last one is the space."""
    return ["", *characters, " "]


def spell(letters: NDArray[np.float32], symbols: Sequence[str]) -> list[tuple[str, float]]:
    """Text and mean probability of each line, from [n, columns, symbols].

    Equal symbols in neighbouring columns are one letter, unless a separator stands between them (CTC).
    """
    best = letters.argmax(axis=2)
    probability = letters.max(axis=2)
    new = np.ones_like(best, dtype=bool)
    new[:, 1:] = best[:, 1:] != best[:, :-1]
    kept = new & (best != 0)
    return [
        (
            "".join(symbols[index] for index in best[row, kept[row]]),
            float(probability[row, kept[row]].mean()) if kept[row].any() else 0.0,
        )
        for row in range(len(best))
    ]
