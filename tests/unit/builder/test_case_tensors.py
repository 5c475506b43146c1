"""Values of tensors from files: what is taken, and what is refused with which words."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.utils import deserialize_bytes_tensor

from ensemble_builder.artifacts.tensors import (
    Array,
    Declared,
    TensorError,
    read_tensor,
    wire_bytes,
    wire_type,
)
from ensembles_api.spec import Encoding

NUMBERS = Declared("FP32", (3,), batched=True)
IMAGE = Declared("UINT8", (-1,), batched=True)
TEXT = Declared("BYTES", (1,), batched=True)


def f32(values: list[Any]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def npy(value: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(value))
    return buffer.getvalue()


def read(
    data: bytes,
    encoding: Encoding,
    declared: Declared,
    shape: list[int] | None = None,
    *,
    any_number: bool = False,
) -> Array:
    return read_tensor(data, encoding, declared, shape, any_number=any_number)


@pytest.mark.parametrize(
    ("data", "encoding", "declared", "shape", "expected"),
    [
        (npy(f32([[1, 2, 3]])), Encoding.NPY, NUMBERS, None, (1, 3)),
        (npy(f32([1, 2, 3])), Encoding.NPY, NUMBERS, None, (1, 3)),
        (npy(np.ones((4, 3), np.float32)), Encoding.NPY, NUMBERS, None, (4, 3)),
        (npy(f32([1, 2, 3])), Encoding.NPY, Declared("FP32", (3,)), None, (3,)),
        (npy(["a"]), Encoding.NPY, TEXT, None, (1, 1)),
        (b"[1, 2, 3]", Encoding.JSON, NUMBERS, None, (1, 3)),
        (b"[[1, 2, 3], [4, 5, 6]]", Encoding.JSON, NUMBERS, None, (2, 3)),
        (b'["hello"]', Encoding.JSON, TEXT, None, (1, 1)),
        (b"\x89PNG...", Encoding.RAW, IMAGE, None, (1, 7)),
        (b"\x89PNG...", Encoding.RAW, TEXT, None, (1, 1)),
        (bytes(24), Encoding.RAW, NUMBERS, [2, 3], (2, 3)),
        (npy(np.zeros(6, np.float32)), Encoding.NPY, NUMBERS, [2, 3], (2, 3)),
        (npy(np.zeros((2, 5))), Encoding.NPY, Declared(), None, (2, 5)),
    ],
)
def test_a_file_gives_a_tensor_in_its_wire_shape(
    data: bytes, encoding: Encoding, declared: Declared, shape: list[int] | None, expected: tuple[int, ...]
) -> None:
    value = read(data, encoding, declared, shape)
    assert value.shape == expected
    assert wire_type(value) == (declared.data_type or "FP64")


@pytest.mark.parametrize(
    ("data", "encoding", "declared", "shape", "said"),
    [
        (b"\x89PNG", Encoding.NPY, NUMBERS, None, "no .npy file"),
        (npy([1.0, 2.0, 3.0]), Encoding.NPY, NUMBERS, None, "it is FP64 and the tensor FP32: convert it"),
        (
            npy(f32([1, 2])),
            Encoding.NPY,
            NUMBERS,
            None,
            r"its shape is \[2\], and the tensor's \[-1, 3\]",
        ),
        (npy(np.array([1j], np.complex64)), Encoding.NPY, NUMBERS, None, "no tensors of complex64"),
        (b"[1, 2", Encoding.JSON, NUMBERS, None, "no JSON"),
        (b"[[1], [2, 3]]", Encoding.JSON, NUMBERS, None, "differ in length"),
        (b'["a"]', Encoding.JSON, NUMBERS, None, "something else than numbers"),
        (b"[1]", Encoding.JSON, TEXT, None, "a list of them"),
        (b"[300]", Encoding.JSON, IMAGE, None, "no UINT8"),
        (b"[1.5]", Encoding.JSON, IMAGE, None, "no UINT8"),
        (b"[1]", Encoding.JSON, Declared(), None, "give a .npy file"),
        (b"[" * 100_000, Encoding.JSON, NUMBERS, None, "no JSON"),
        (b"PK\x03\x04 an archive", Encoding.NPY, NUMBERS, None, "no .npy file"),
        (bytes(7), Encoding.RAW, NUMBERS, None, "no whole number of FP32"),
        (bytes(8), Encoding.RAW, NUMBERS, None, "2 values, which do not fill"),
        (bytes(8), Encoding.RAW, Declared("FP32", (-1, -1)), None, "state shape"),
        (bytes(24), Encoding.RAW, NUMBERS, [3, 2], "does not fit the tensor's"),
        (bytes(24), Encoding.RAW, NUMBERS, [4, 3], "another number"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_cure(
    data: bytes, encoding: Encoding, declared: Declared, shape: list[int] | None, said: str
) -> None:
    with pytest.raises(TensorError, match=said):
        read(data, encoding, declared, shape)


def test_a_golden_value_may_have_other_numbers() -> None:
    assert wire_type(read(npy([1.0, 2.0, 3.0]), Encoding.NPY, NUMBERS, any_number=True)) == "FP64"
    brain = read(npy(f32([1, 2, 3])), Encoding.NPY, Declared("BF16", (3,)), any_number=True)
    assert wire_type(brain) == "FP32", "it is not rounded before it is compared"


def test_numpy_has_no_bfloat16_so_that_fp32_is_taken_for_it() -> None:
    value = read(npy(f32([1, 2, 3])), Encoding.NPY, Declared("BF16", (3,)))
    assert (wire_type(value), len(wire_bytes(value))) == ("BF16", 6)


def test_wire_bytes_are_little_endian_and_strings_stand_behind_their_length() -> None:
    big = np.array([1, 256], dtype=">i4")
    assert wire_bytes(big) == b"\x01\0\0\0\0\x01\0\0"
    text = read(b'["a", "bcd"]', Encoding.JSON, Declared("BYTES", (-1,)))
    assert deserialize_bytes_tensor(wire_bytes(text)).tolist() == [b"a", b"bcd"]
