"""The TensorRT that this image has: its Python module and what it logs."""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ensemble_builder.compilers.tensorrt.failures import build_failure
from ensemble_builder.compilers.tensorrt.offer import Offer
from ensemble_builder.compilers.tensorrt.report import fault
from ensembles_api.reasons import Reason

MODULES = ("tensorrt", "tensorrt_bindings", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""TensorRT as the bindings' wheels name it. Triton serves no RTX engine: they prove builds without a GPU."""
KEPT_MESSAGES = 20
"""Different warnings, and errors, that are kept; of each `KEPT_LENGTH` characters."""
KEPT_LENGTH = 600


@dataclass(frozen=True)
class Library:
    """TensorRT, ready to build: its module, what it offers, a logger (see `logger_of`) and a builder."""

    module: Any
    offer: Offer
    logger: Any
    builder: Any


def open_library(module: Any, offer: Offer, *, field: str) -> Library:
    """Raises FaultError, as `build_failure`, where TensorRT cannot begin: on a GPU that is full."""
    logger = logger_of(module)
    module.init_libnvinfer_plugins(logger, "")
    try:
        return Library(module, offer, logger, module.Builder(logger))
    except TypeError as error:  # the bindings' way to say that there is none
        said = [*logger.warnings, *logger.errors]
        raise build_failure(said, field=field, workspace=None) from error


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


def load_plugins(plugins: Sequence[str], *, field: str) -> None:
    """Load shared libraries, which register their layers by themselves, as Triton's backend does.

    Raises:
        FaultError: InvalidModel naming the plugin that cannot be loaded.
    """
    place = 0
    try:
        for place, plugin in enumerate(plugins):  # noqa: B007 - the one that fails is named
            ctypes.CDLL(plugin, mode=os.RTLD_LAZY | os.RTLD_GLOBAL)
    except OSError as error:
        message = f"it cannot be loaded: {error}; build it for the TensorRT and the CPU of this release"
        raise fault(Reason.INVALID_MODEL, f"{field}.plugins[{place}]", message) from error


def logger_of(tensorrt: Any) -> Any:
    """Prints what TensorRT says and keeps what its API does not return: `errors` and `warnings`, each once.

    `listener`, where it is set, reads the verbose log, which is not printed.
    """
    base: Any = tensorrt.ILogger

    class Logger(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: dict[str, None] = {}
            self.warnings: dict[str, None] = {}
            self.listener: Callable[[str], None] | None = None

        def log(self, severity: Any, message: str) -> None:
            if severity == self.VERBOSE:
                if self.listener:
                    self.listener(message)
                return
            if severity != self.INFO:
                kept = self.warnings if severity == self.WARNING else self.errors
                if len(kept) < KEPT_MESSAGES:
                    kept.setdefault(" ".join(message.split())[:KEPT_LENGTH])
            print(f"[{severity.name}] {message}", flush=True)  # noqa: T201 - the Job's log

    return Logger()
