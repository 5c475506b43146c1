"""What ONNX Runtime on the CPU answers for the user's own ONNX: the yardstick of an engine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ensemble_builder.compilers.tensorrt.accuracy import Array

_TYPES: Mapping[str, np.dtype[np.generic]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int16)": np.dtype(np.int16),
    "tensor(uint16)": np.dtype(np.uint16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(uint32)": np.dtype(np.uint32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(uint64)": np.dtype(np.uint64),
    "tensor(bool)": np.dtype(np.bool_),
}


class ReferenceUnavailableError(Exception):
    """There is nothing to compare with; the message says why."""


class OnnxReference:
    """Answers are remembered: the optimal and the largest batch repeat the same items."""

    def __init__(self, model: Path) -> None:
        """Raises ReferenceUnavailableError where ONNX Runtime is absent or cannot run the model on a CPU."""
        try:
            # Imported here: only this needs it, and an image for builds without verification may lack it.
            import onnxruntime  # noqa: PLC0415
        except ImportError as error:
            raise ReferenceUnavailableError("the builder image has no onnxruntime") from error
        self.version = str(onnxruntime.__version__)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common base of their own
            raise ReferenceUnavailableError(f"ONNX Runtime cannot load the model: {_short(error)}") from error
        self._known: dict[str, dict[str, Array]] = {}

    def answers(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Output name -> answer. Inputs are taken in the ONNX's own types.

        Raises:
            ReferenceUnavailableError: where the model does not run with them.
        """
        key = _digest(inputs)
        if key not in self._known:
            self._known[key] = self._run(inputs)
        return self._known[key]

    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        feed = {}
        for entry in self._session.get_inputs():
            if entry.name not in inputs or entry.type not in _TYPES:
                raise ReferenceUnavailableError(
                    f"ONNX Runtime wants {entry.name!r} as {entry.type}, which the engine does not have"
                )
            feed[entry.name] = inputs[entry.name].astype(_TYPES[entry.type])
        names = [output.name for output in self._session.get_outputs()]
        try:
            found = self._session.run(names, feed)
        except Exception as error:
            raise ReferenceUnavailableError(f"ONNX Runtime cannot run the model: {_short(error)}") from error
        return dict(zip(names, found, strict=True))


def _digest(inputs: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name in sorted(inputs):
        array = np.ascontiguousarray(inputs[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
