"""512 photographs that differ, as JPEG: parts of a few, turned about, at the size a camera's preview has."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

NUMBER = 512
SIZE = (640, 480)
_QUALITY = 85
_SMALLEST_SHARE = 0.6
"""Of a photograph's sides that a part of it keeps."""


def originals() -> list[Path]:
    """The photographs that the parts are taken from."""
    from preparation.photographs import PHOTOGRAPHS, photograph  # noqa: PLC0415 - of the examples, beside us

    return [photograph(name) for name in PHOTOGRAPHS]


def write(originals: Sequence[Path], target: Path) -> None:
    """An archive of 000.jpg, 001.jpg …; the same at every call with the same Pillow."""
    chance = random.Random(0)
    opened = [Image.open(path).convert("RGB") for path in originals]
    with tarfile.open(target, "w") as archive:
        for number in range(NUMBER):
            entry = tarfile.TarInfo(f"{number:03}.jpg")
            content = _encoded(_part(opened[number % len(opened)], chance))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def _part(picture: Image.Image, chance: random.Random) -> Image.Image:
    share = chance.uniform(_SMALLEST_SHARE, 1)
    width, height = (int(side * share) for side in picture.size)
    left, top = chance.randint(0, picture.width - width), chance.randint(0, picture.height - height)
    part = picture.crop((left, top, left + width, top + height)).resize(SIZE, Image.Resampling.BICUBIC)
    return ImageOps.mirror(part) if chance.random() < 0.5 else part


def _encoded(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
