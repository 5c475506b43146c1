"""Small encoded images, sounds and videos, made with nothing but the standard library.

They stand in for a user's samples: a pipeline that decodes them tells its outputs' types and shapes.
"""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib
from collections.abc import Iterable, Iterator


def png(width: int, height: int) -> bytes:
    """An RGB image of 16x16 pixel tiles, so that no channel is constant and it is small."""
    columns = [column // 16 * 16 * 255 // width for column in range(width)]
    lines = bytearray()
    for row in range(height):
        shade = row // 16 * 16 * 255 // height
        lines += b"\0"
        for column in columns:
            lines += bytes((column, shade, (column + shade) // 2))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(lines), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def wav(seconds: float, *, rate: int = 16000) -> bytes:
    """A 440 Hz tone, one channel of 16 bits."""
    samples = (int(12000 * math.sin(2 * math.pi * 440 * tick / rate)) for tick in range(int(seconds * rate)))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()


def avi(width: int, height: int, *, frames: int, rate: int = 25) -> bytes:
    """A Motion JPEG video: the one codec that DALI decodes on CPU and GPU and that needs no library to write.

    Args:
        width: pixels, a multiple of 16.
        height: pixels, a multiple of 16.
        frames: number of frames.
        rate: frames per second.
    """
    images = [_jpeg(width, height, phase=frame) for frame in range(frames)]
    largest = max(map(len, images))
    main = struct.pack(
        "<14I", 1_000_000 // rate, largest * rate, 0, 0x10, frames, 0, 1, largest, width, height, 0, 0, 0, 0
    )
    stream = struct.pack(
        "<4s4sIHHIIIIIIII4H",
        b"vids",
        b"MJPG",
        0,
        0,
        0,
        0,
        1,
        rate,
        0,
        frames,
        largest,
        0xFFFFFFFF,
        0,
        0,
        0,
        width,
        height,
    )
    form = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, b"MJPG", width * height * 3, 0, 0, 0, 0)
    headers = _list(
        b"hdrl", _chunk(b"avih", main) + _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", form))
    )
    movie, index = b"", b""
    for image in images:
        index += struct.pack("<4sIII", b"00dc", 0x10, 4 + len(movie), len(image))
        movie += _chunk(b"00dc", image)
    content = b"AVI " + headers + _list(b"movi", movie) + _chunk(b"idx1", index)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _list(kind: bytes, data: bytes) -> bytes:
    return _chunk(b"LIST", kind + data)


_DC_LENGTHS = (0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0)
_DC_STEP = 16
_END_OF_BLOCK = "00"


def _jpeg(width: int, height: int, *, phase: int) -> bytes:
    """A baseline JPEG, 4:2:0, whose 8x8 blocks have one colour each (T.81 with no AC coefficients)."""
    quantisation = b"\0" + bytes([_DC_STEP] * 64)
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\1\x22\0" + b"\2\x11\0" + b"\3\x11\0"
    dc_table = b"\0" + bytes(_DC_LENGTHS) + bytes(range(12))
    ac_table = b"\x10" + bytes((0, 1, *[0] * 14)) + b"\0"
    scan = b"\3" + b"\1\0" + b"\2\0" + b"\3\0" + b"\0\x3f\0"
    segments = ((0xDB, quantisation), (0xC0, frame), (0xC4, dc_table), (0xC4, ac_table), (0xDA, scan))
    head = b"".join(struct.pack(">BBH", 0xFF, kind, len(data) + 2) + data for kind, data in segments)
    return b"\xff\xd8" + head + _entropy_coded(_blocks(width // 16, height // 16, phase)) + b"\xff\xd9"


def _blocks(columns: int, rows: int, phase: int) -> Iterator[tuple[int, int]]:
    """(component, quantised DC value): four blocks of Y, one of Cb, one of Cr for each 16x16 pixels."""
    for row in range(rows):
        for column in range(columns):
            luminance = (column * 7 + row * 5 + phase * 3) % 96 - 48
            for corner in range(4):
                yield 0, luminance + corner * 2
            yield 1, (column * 3 + phase) % 32 - 16
            yield 2, (row * 3 - phase) % 32 - 16


def _entropy_coded(blocks: Iterable[tuple[int, int]]) -> bytes:
    codes = list(_huffman_codes(_DC_LENGTHS))
    before = [0, 0, 0]
    bits = []
    for component, value in blocks:
        difference = value - before[component]
        before[component] = value
        size = abs(difference).bit_length()
        raw = difference if difference >= 0 else difference + (1 << size) - 1
        bits.append(codes[size] + (format(raw, f"0{size}b") if size else "") + _END_OF_BLOCK)
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    data = int(stream, 2).to_bytes(len(stream) // 8, "big")
    return data.replace(b"\xff", b"\xff\0")


def _huffman_codes(lengths: Iterable[int]) -> Iterator[str]:
    """Codes in the order of their values (T.81, annex C)."""
    code = 0
    for length, count in enumerate(lengths, start=1):
        for _ in range(count):
            yield format(code, f"0{length}b")
            code += 1
        code <<= 1
