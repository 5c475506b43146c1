"""Kinds of servers that an ensemble wants, and whether its models need a GPU."""

from __future__ import annotations

from ensembles_api.contract import TargetRequest
from ensembles_api.spec import Gpu, InferenceEnsembleSpec, Model

DEFAULT_TARGET = "default"


def stated_targets(spec: InferenceEnsembleSpec) -> tuple[TargetRequest, ...]:
    """As the spec has them; without any, one with a GPU if a model needs one."""
    if spec.serving.targets:
        return tuple(TargetRequest(name=target.name, gpu=target.gpu) for target in spec.serving.targets)
    gpu = Gpu() if any(_needs_gpu(model) for model in spec.models) else None
    return (TargetRequest(name=DEFAULT_TARGET, gpu=gpu),)


def has_engine(spec: InferenceEnsembleSpec) -> bool:
    return any(is_engine(model) for model in spec.models)


def is_engine(model: Model) -> bool:
    """Whether one of its versions is a TensorRT engine."""
    return bool(model.tensorrt or any(version.tensorrt for version in model.versions or []))


def _needs_gpu(model: Model) -> bool:
    if is_engine(model):
        return True
    groups = (model.config or {}).get("instance_group", [])
    return isinstance(groups, list) and any(
        isinstance(group, dict) and group.get("kind") == "KIND_GPU" for group in groups
    )
