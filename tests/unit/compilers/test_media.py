"""The made-up media are what other programs take them for."""

from __future__ import annotations

import io
import struct
import wave
from typing import cast

import pytest
from PIL import Image

from ensemble_builder.compilers.dali import media

Extrema = tuple[tuple[int, int], ...]


def test_png() -> None:
    image = Image.open(io.BytesIO(media.png(64, 48)))
    image.load()

    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 48))
    assert all(low < high for low, high in cast(Extrema, image.getextrema()))


def test_wav() -> None:
    with wave.open(io.BytesIO(media.wav(0.5))) as sound:
        assert (sound.getnchannels(), sound.getframerate(), sound.getnframes()) == (1, 16000, 8000)


@pytest.mark.parametrize("size", [(320, 240), (256, 192)])
def test_clips_hold_vp8_key_frames(size: tuple[int, int]) -> None:
    content = media.clip(*size, frames=3)

    assert content[:4] == b"DKIF"
    (length,) = struct.unpack_from("<I", content, 32)
    frame = content[44 : 44 + length]
    assert len(content) == 32 + 3 * (12 + length)
    padded = frame + b"\0" * (length % 2)
    chunk = b"WEBPVP8 " + struct.pack("<I", length) + padded
    image = Image.open(io.BytesIO(b"RIFF" + struct.pack("<I", len(chunk)) + chunk))
    assert image.size == size
    extrema = cast(Extrema, image.convert("RGB").getextrema())
    assert all(low < high for low, high in extrema[:2])
