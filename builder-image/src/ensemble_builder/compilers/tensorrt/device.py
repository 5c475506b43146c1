"""The GPU that an engine is built on."""

from __future__ import annotations

import ctypes


def gpu_name() -> str:
    """Name of the first GPU; empty without a driver."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    name = ctypes.create_string_buffer(256)
    device = ctypes.c_int()
    failed = cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0)
    return "" if failed or cuda.cuDeviceGetName(name, len(name), device) else name.value.decode()
