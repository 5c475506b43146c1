"""Tensors lent through DLPack: the Python backend reads what we describe, and memory comes back."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
from backends.device import dlpack
from backends.device.cuda import Buffer, DeviceArray


def array(given_back: list[int]) -> DeviceArray:
    """Rows of three halves, from the third on, in memory that nobody looks into."""
    buffer = Buffer(0x1000, given_back.append)
    return DeviceArray(buffer, 0, np.dtype(np.float16), (5, 3)).rows(2, 4)


def test_what_is_lent_is_described() -> None:
    lent = dlpack.borrow(lambda: dlpack.capsule(array([])))
    assert (lent.pointer, lent.shape, lent.dtype) == (0x1000 + 2 * 3 * 2, (2, 3), np.dtype(np.float16))
    assert lent.nbytes == 12


def test_memory_comes_back_from_a_capsule_that_nobody_read() -> None:
    given_back: list[int] = []
    capsule = dlpack.capsule(array(given_back))
    gc.collect()
    assert not given_back
    del capsule
    assert given_back == [0x1000]


def test_memory_comes_back_when_the_reader_is_done() -> None:
    given_back: list[int] = []
    capsule = dlpack.capsule(array(given_back))
    address = dlpack._pointer(capsule, b"dltensor")
    # As a reader does: the capsule is renamed, and the deleter called in the end.
    rename = ctypes.pythonapi.PyCapsule_SetName
    rename.argtypes = (ctypes.py_object, ctypes.c_char_p)
    assert rename(capsule, b"used_dltensor") == 0
    del capsule
    assert not given_back
    dlpack._Deleter(dlpack._Managed.from_address(address).deleter)(address)
    assert given_back == [0x1000]
