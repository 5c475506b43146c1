"""`platform` and `backend`: stated for the kinds the product builds, derived from file names for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.errors import invalid_config
from ensemble_builder.modelconfig.members import Member, VersionKind

ENSEMBLE = "ensemble"
BACKENDS: Mapping[str, tuple[str, str]] = {
    "dali": ("dali", ""),
    "tensorrt": ("tensorrt", "tensorrt_plan"),
    "onnxruntime": ("onnxruntime", "onnxruntime_onnx"),
    "python": ("python", ""),
}
"""Kind -> backend and platform."""
BACKEND_OF_FILE: Mapping[str, str] = {
    "model.plan": "tensorrt",
    "model.onnx": "onnxruntime",
    "model.xml": "openvino",
    "model.pt": "pytorch",
    "model.py": "python",
    "model.dali": "dali",
    "dali.py": "dali",
}
"""Default file names of backends, in the order in which the server looks for them."""
PLATFORMS: Mapping[str, str] = {
    "tensorrt": "tensorrt_plan",
    "onnxruntime": "onnxruntime_onnx",
    "pytorch": "pytorch_libtorch",
}
"""Backends whose platform the server insists on, and completes."""


def state_backend(config: ModelConfig, kind: VersionKind, member: Member, stated: Mapping[str, Any]) -> None:
    """Sets backend and platform.

    Raises:
        FaultError: InvalidConfig, if another backend than the kind's is stated, or none can be found out.
    """
    if kind == "files":
        if not member.left_to_server:
            derive_backend(config, member)
            _require_backend(config, member)
        return
    backend, platform = BACKENDS[kind]
    for key, value in (("backend", backend), ("platform", platform)):
        if stated.get(key) not in (None, "", value):
            raise invalid_config(
                f"{member.field}.config.{key}",
                f"is {stated[key]}, but a model of kind {kind} has {key} {value or 'none'}: remove it, or "
                "publish the model as files",
            )
        setattr(config, key, value)


def derive_backend(config: ModelConfig, member: Member) -> None:
    """Fills backend and platform as the server would, from platform, file name or model name."""
    if config.HasField("ensemble_scheduling"):
        config.platform = ENSEMBLE
        return
    if not config.backend:
        by_platform = {platform: backend for backend, platform in PLATFORMS.items()}
        names = (config.default_model_filename,) if config.default_model_filename else member.file_names
        by_file = next((backend for file, backend in BACKEND_OF_FILE.items() if file in names), "")
        config.backend = by_platform.get(config.platform, "") or ("" if config.platform else by_file)
    if config.backend in PLATFORMS and not config.platform:
        config.platform = PLATFORMS[config.backend]


def _require_backend(config: ModelConfig, member: Member) -> None:
    if not config.backend and not config.platform:
        raise invalid_config(
            f"{member.field}.config.backend",
            f"the files of {member.name} do not tell which backend runs them: state it, e.g. backend: python",
        )
