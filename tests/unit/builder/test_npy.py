"""Damaged .npy files are refused as such, whichever byte is wrong."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ensemble_builder.artifacts.npy import MAGIC, read_npy

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


def saved(array: npt.NDArray[Any] = ARRAY) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def is_read(data: bytes) -> bool:
    try:
        read_npy(data)
    except ValueError:
        return False
    return True


def header(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return MAGIC + b"\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(24)


def test_what_numpy_saved() -> None:
    assert np.array_equal(read_npy(saved()), ARRAY)


def test_one_wrong_byte_or_an_early_end() -> None:
    good = saved()
    damaged = [good[:end] for end in range(len(good))]
    for place in range(len(good) - ARRAY.nbytes):
        damaged += [bytes([*good[:place], byte, *good[place + 1 :]]) for byte in (0, 0x27, 0x28, 0xFF)]
    refused = [data for data in damaged if not is_read(data)]
    assert len(refused) > len(good)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no array",
        header("(99999999999999999999,)"),
        header("(True,)"),
        header("(-1, 3)"),
        header("(99999999999,)", "('<f4', (99999,))"),
        header("(2, 3", "zz"),
        header("(2,)", "1" + "+1" * 4_000),
        saved(np.array([{}], dtype=object)),
        b"PK\x03\x04 an archive",
    ],
)
def test_what_is_no_array(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_npy(data)
