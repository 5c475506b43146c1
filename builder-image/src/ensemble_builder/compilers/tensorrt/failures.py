"""Why a build or a run failed, from what TensorRT logged: its API returns nothing but None or False."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ensemble_builder.compilers.tensorrt.report import fault
from ensemble_builder.faults import FaultError
from ensembles_api.reasons import Reason

_NO_MEMORY = re.compile(
    r"out ?of ?memory|cudaErrorMemoryAllocation|MEM_ALLOC_FAILED|CUDA initialization failure with error: 2\b",
    re.IGNORECASE,
)
_SKIPPED_FOR_MEMORY = re.compile(
    r"insufficient memory on requested size|device memory is insufficient to use tactic"
    r"|requested amount of GPU memory .* could not be allocated",
    re.IGNORECASE,
)
"""Warnings of TensorRT 8.6 and 10 about a kernel that was not even tried; none may be left."""
_CUDA_FAILED = re.compile(r"Error Code 1: (Cask|Cuda)", re.IGNORECASE)
"""What is left where not even a kernel's code could be loaded; that it was for memory, nobody says."""
_NEEDED = 1 << 30
"""Bytes that CUDA and TensorRT want for themselves."""
_EMPTY = re.compile(r"Assertion engine != nullptr failed")
"""What TensorRT 8 and 10 say last, whatever was wrong."""
_NO_WORKSPACE = re.compile(r"insufficient workspace|within workspace limit", re.IGNORECASE)
_NO_LEAN_RUNTIME = re.compile(r"libnvinfer_lean")
_NO_KERNEL = re.compile(r"could not find any implementation for node (?P<node>[^.]+)", re.IGNORECASE)
SHOWN = 600
"""Characters of a message of TensorRT's that a fault quotes."""


def build_failure(
    errors: Sequence[str],
    *,
    field: str,
    workspace: str | None,
    warnings: Sequence[str] = (),
    free_memory: int | None = None,
) -> FaultError:
    """The fault of a build that gave no engine, or none that loads.

    Args:
        errors: what TensorRT logged as errors (and, where it could not even begin, as warnings), in order.
        field: path of the model's tensorrt in the resource.
        workspace: `builder.workspace` as stated.
        warnings: what it warned of before.
        free_memory: bytes of the GPU that are free after the failure, where that is known.
    """
    telling = [error for error in errors if not _EMPTY.search(error)]
    said = " ".join(telling)
    quoted = telling[-1][:SHOWN] if telling else "the log of the Job says why"
    if workspace and _NO_WORKSPACE.search(said):
        return fault(
            Reason.INVALID_SPEC,
            f"{field}.builder.workspace",
            f"{workspace} does not suffice for a layer: raise it, or remove it to use "
            f"what the GPU has. {quoted}",
        )
    if _NO_LEAN_RUNTIME.search(said):
        return fault(
            Reason.NOT_SUPPORTED,
            f"{field}.builder.versionCompatible",
            f"this builder image lacks TensorRT's lean runtime, which such engines carry: leave it "
            f"out. {quoted}",
        )
    no_kernel = _NO_KERNEL.search(said)
    skipped = next((each for each in warnings if _SKIPPED_FOR_MEMORY.search(each)), "")
    if no_kernel and skipped:
        quoted = f"{skipped[:SHOWN]} {quoted}"
    full = free_memory is not None and free_memory < _NEEDED and bool(_CUDA_FAILED.search(said))
    if _NO_MEMORY.search(said) or (no_kernel and skipped) or full:
        return fault(
            Reason.GPU_OUT_OF_MEMORY,
            f"{field}.profiles",
            "the GPU's memory does not suffice to build: lower the largest shapes or maxBatchSize, set "
            f"builder.workspace, or build on a GPU that nobody else uses. {quoted}",
        )
    if no_kernel:
        return fault(
            Reason.COMPILE_FAILED,
            field,
            f"TensorRT has no kernel for node {no_kernel['node'].strip()}: with tacticSources set, allow "
            f"more; otherwise export it differently. {quoted}",
        )
    return fault(Reason.COMPILE_FAILED, field, f"TensorRT could not build the engine: {quoted}")


def run_failure(what: str, errors: Sequence[str], *, field: str, full: bool = False) -> FaultError:
    """The fault of an engine that does not load or run.

    Args:
        what: failed.
        errors: what TensorRT logged as errors, in order.
        field: path of the model's tensorrt in the resource.
        full: the driver itself has said that the GPU's memory does not suffice.
    """
    quoted = f"{what}; {errors[-1][:SHOWN]}" if errors else what
    if full or _NO_MEMORY.search(" ".join(errors)):
        return fault(
            Reason.GPU_OUT_OF_MEMORY,
            field,
            "the engine runs out of GPU memory at the sizes asked for: lower maxBatchSize or the profile's "
            f"max, or see what else uses the GPU ({quoted})",
        )
    return fault(Reason.COMPILE_FAILED, field, f"the engine does not run: {quoted}")
