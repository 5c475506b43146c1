"""Photographs that scikit-image carries (all free to use, see skimage/data/README.txt in the wheel)."""

from __future__ import annotations

from pathlib import Path

from preparation.cache import cached
from preparation.wheels import Wheel

SCIKIT_IMAGE = Wheel(
    "scikit-image",
    "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
)
PHOTOGRAPHS = ("coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png")


def photograph(name: str) -> Path:
    """An encoded photograph, e.g. coffee.png: a cup of espresso on a table."""

    def take(target: Path) -> None:
        target.write_bytes(SCIKIT_IMAGE.read(f"skimage/data/{name}"))

    return cached(f"photographs/{name}", take)
