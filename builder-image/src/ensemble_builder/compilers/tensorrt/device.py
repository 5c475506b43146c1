"""The GPU that an engine is built on, and whether it is the one the target names."""

from __future__ import annotations

import contextlib
import ctypes
import re
from typing import Any

from ensemble_builder.artifacts.gpu_products import is_asked_for
from ensemble_builder.compilers.tensorrt.cuda import CudaDevice, CudaError, CudaOutOfMemoryError
from ensemble_builder.compilers.tensorrt.report import Device, fault
from ensembles_api.reasons import Reason

_TEXT = 256
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


def find_device() -> Device | None:
    """The first GPU that CUDA shows; None without a driver or a GPU."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device = ctypes.c_int()
    name = ctypes.create_string_buffer(_TEXT)
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return None
    if cuda.cuDeviceGetName(name, _TEXT, device):
        return None
    memory = ctypes.c_size_t()
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    product = product_of(name.value.decode(errors="replace"))
    return Device(
        product=product,
        compute_capability=f"{_attribute(cuda, _MAJOR, device)}.{_attribute(cuda, _MINOR, device)}",
        memory=memory.value,
        mig=product.rpartition("-MIG-")[2] if "-MIG-" in product else "",
        driver=_driver(),
    )


def _attribute(cuda: Any, number: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return value.value


def _driver() -> str:
    """The driver's version, which only NVML knows; empty where a container has no NVML."""
    with contextlib.suppress(OSError):
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        version = ctypes.create_string_buffer(_TEXT)
        if not nvml.nvmlInit_v2() and not nvml.nvmlSystemGetDriverVersion(version, _TEXT):
            return version.value.decode(errors="replace")
    return ""


def free_memory() -> int | None:
    """Bytes of the GPU that nobody uses, none where not even a context fits; None where there is no GPU."""
    try:
        with CudaDevice() as device:
            return device.free_memory()
    except CudaOutOfMemoryError:
        return 0
    except CudaError:
        return None


def product_of(name: str) -> str:
    """A GPU's name as the node label nvidia.com/gpu.product writes it (gpu-feature-discovery).

    CUDA calls a MIG device "NVIDIA A100-SXM4-40GB MIG 1g.5gb", the label "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb".
    """
    return "-".join(re.sub(r"[^A-Za-z0-9_. -]+", "", name).split())


def check_device(found: Device | None, *, wanted: str, rtx: bool) -> None:
    """The GPU must be the one that the order asks for; an engine fits no other.

    Args:
        found: the GPU here.
        wanted: the product that the order asks for; empty for any.
        rtx: TensorRT-RTX builds without a GPU too.

    Raises:
        FaultError: GPUMismatch.
    """
    if found is None:
        if rtx:
            return
        raise fault(
            Reason.GPU_MISMATCH,
            "spec.serving.targets",
            f"the build Job sees no GPU{f', {wanted} was asked for' if wanted else ''}: the node's NVIDIA "
            "driver or container runtime does not give it one; check the device plugin and runtimeClassName",
        )
    if not is_asked_for(found.product, wanted):
        raise fault(
            Reason.GPU_MISMATCH,
            "spec.serving.targets",
            f"the build Job ran on {found.product}, the target names {wanted}: an engine fits only the GPU "
            "it was built on; correct the product, or the node's label nvidia.com/gpu.product",
        )
