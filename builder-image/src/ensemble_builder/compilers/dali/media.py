"""Small encoded images, sounds and videos, made with the standard library alone.

They stand in for a user's samples: a pipeline that decodes them tells its outputs' types and shapes.
"""

from __future__ import annotations

import base64
import io
import math
import struct
import wave
import zlib


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


_KEY_FRAMES = {
    (320, 240): (
        "cBgAnQEqQAHwAD/9/v9/v7q2siAoA/A/iWdu4WRp9qCulWwuuwAT2Ae+2TkP2b9UaQD5G9+j22AqybZmaybbKN/UE+zs3Ncu"
        "r8FkFQgkfhHSF6SyzQ/RShHR7z1FTOz1FT956ip+8+S0U0N3nqKn7zz+hWAUt7R+iOsmyHld3W8LtLv78rWF5EnfawwrJtl4"
        "WCLdDIKst9T4IuKn7z1AC7z1FT956ip+88yoCOsm2wFWTbYCmHfRHWTbYCrJtsAf4jxDrJtsBV34yboAAP7yAvC8RRCPBgpr"
        "U3sjNrosN5LK3n5X+5BXK+roqNM/6MEijNlFtgIlGbmTcivwfBjutKqsx1FZtXwElWi6yyLJB/qvecGh6Eoq91NpqrDWH+hr"
        "p42d2sftg5+8VB9pmuPg2KbO6kII/Z4XE7+x/h7Qry7KXt3IQco+9Tsi3dGYfrQtCq3yZLHfh/OCLcYstriA/huoFIVgoBEj"
        "M94msr/Ag3uK8AUkGPTlT1bdm2sZvitAjNp9abB1LPOwllWStgVCfKbr+usxrERa/pb3QMC4AZL3hmlPdfvXCyhb6fYtniYb"
        "6AgAAA=="
    ),
    (256, 192): (
        "sBEAnQEqAAHAAD/9/v9/v7q2siAoA/A/iWdu3u/8/JzVfT36XeAJ7APfbKb1bBS0OfucAqfvVpsz37WQ//86stmsGR7z5/sN"
        "x/f704B/rDaP04T9zgRkQrKbX517kzPiFDs22AqybZmaybbAW/afTdzeUrA2O/iG7zzJjhLJtmdx3fVcVZJ7g/bT9Dbuz+Ru"
        "gVZNtf3AAP7kWYWxUkNK+b6pQpkwvGhIC5hYbgr6HMGmnj+XWYCa8njulePRn32/BrGY5Dt7cmyygmBCITikzmytwOWLv5MG"
        "EhE+LNMJN0Bgh3EgogEbioZSIUQeZm5vfiCzwlE/LJWWxLtabBDDaPArnYITkXHZiPfy9lJ0anfg9LCMRXw+dmp1xAkbeh1Q"
        "SpsckhX7zDlkU15Szaf1yhf+SiUwT7qFZcC70lhFLAXpNRDnK9FKyHh21BaUAIiP2qMsAAAA"
    ),
}
"""VP8 key frames by width and height, base64: colour gradients from Pillow's lossy WebP, less its headers."""


def clip(width: int, height: int, *, frames: int, rate: int = 25) -> bytes:
    """A VP8 video in an IVF file: DALI decodes VP8 on CPU and GPU, most others on one.

    Args:
        width: pixels.
        height: pixels; a size that has a key frame here.
        frames: number of frames, all key frames.
        rate: frames per second.
    """
    image = base64.b64decode(_KEY_FRAMES[width, height])
    header = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, b"VP80", width, height, rate, 1, frames, 0)
    return header + b"".join(struct.pack("<IQ", len(image), number) + image for number in range(frames))
