"""The TensorRT that this image has: its Python module and what it logs."""

from __future__ import annotations

import importlib
from typing import Any

from ensemble_builder.compilers.tensorrt.report import fault
from ensembles_api.reasons import Reason

MODULES = ("tensorrt", "tensorrt_bindings", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""TensorRT as the bindings' wheels name it. Triton serves no RTX engine: they prove builds without a GPU."""


def load_tensorrt(wanted: str) -> Any:
    """The module of TensorRT's Python API. Raises FaultError: NotSupported, ReleaseMismatch."""
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError):
            continue
        version = str(module.__version__)
        if wanted and version.split(".")[: wanted.count(".") + 1] != wanted.split("."):
            raise fault(
                Reason.RELEASE_MISMATCH,
                "spec.runtime",
                f"the builder image has TensorRT {version}, the server has {wanted}: an engine loads "
                "only in the TensorRT that built it; use the builder image of the server's release",
            )
        return module
    raise fault(
        Reason.NOT_SUPPORTED,
        "spec.runtime",
        "this builder image has no TensorRT with Python bindings: use the builder image of a release with "
        "a GPU server, or serve this model with onnxruntime",
    )


def logger_of(tensorrt: Any) -> Any:
    """Prints what TensorRT says and keeps its last error, which its API does not return."""
    base: Any = tensorrt.ILogger

    class Logger(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.last_error = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (self.ERROR, self.INTERNAL_ERROR):
                self.last_error = " ".join(message.split())[:600]
            if severity != self.VERBOSE:
                print(f"[{severity.name}] {message}", flush=True)  # noqa: T201 - the Job's log

    return Logger()
