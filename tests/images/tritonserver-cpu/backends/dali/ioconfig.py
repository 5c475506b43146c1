"""Holds a model configuration against a pipeline, by the rules of Triton's DALI backend.

Source of the rules: src/config_tools and src/dali_model.h of triton-inference-server/dali_backend. Inputs are
bound by name, outputs by order; a declared type or number of axes must not contradict the pipeline.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from backends.dali.capi import Pipeline, Tensor

TRITON_TYPES = {
    np.dtype(np.uint8): "TYPE_UINT8",
    np.dtype(np.uint16): "TYPE_UINT16",
    np.dtype(np.uint32): "TYPE_UINT32",
    np.dtype(np.uint64): "TYPE_UINT64",
    np.dtype(np.int8): "TYPE_INT8",
    np.dtype(np.int16): "TYPE_INT16",
    np.dtype(np.int32): "TYPE_INT32",
    np.dtype(np.int64): "TYPE_INT64",
    np.dtype(np.float16): "TYPE_FP16",
    np.dtype(np.float32): "TYPE_FP32",
    np.dtype(np.float64): "TYPE_FP64",
    np.dtype(np.bool_): "TYPE_BOOL",
}

_COMMENT_OR_STRING = re.compile(r'"(?:\\.|[^"\\])*"|#[^\n]*')
_TOP_LEVEL_BATCH_SIZE = re.compile(r"\bmax_batch_size\s*:\s*(-?\d+)")


class ConfigError(Exception):
    """The configuration contradicts the pipeline."""


def stated_batch_size(config_file: Path) -> int | None:
    """Read max_batch_size from the text, as the backend does: absent and 0 differ there alone."""
    if not config_file.is_file():
        return None
    text = _COMMENT_OR_STRING.sub(" ", config_file.read_text())
    found = _TOP_LEVEL_BATCH_SIZE.search(_outside_braces(text))
    return int(found.group(1)) if found else None


def validate(config: Mapping[str, Any], pipeline: Pipeline, *, batched: bool) -> None:
    """Refuse what the backend refuses.

    Raises:
        ConfigError: naming the tensor.

    """
    inputs = {entry["name"]: entry for entry in config.get("input", [])}
    _refuse_unknown_inputs(inputs, pipeline.inputs)
    for tensor in pipeline.inputs:
        if tensor.name not in inputs:
            raise ConfigError(f'Missing config for "{tensor.name}" input.')
        _validate_tensor(inputs[tensor.name], tensor, batched=batched)
    outputs = config.get("output", [])
    if len(outputs) != len(pipeline.outputs):
        raise ConfigError(_output_counts(len(outputs), len(pipeline.outputs)))
    for entry, tensor in zip(outputs, pipeline.outputs, strict=True):
        _validate_tensor(entry, tensor, batched=batched)


def completed_inputs(
    config: Mapping[str, Any], tensors: Sequence[Tensor], *, batched: bool
) -> list[dict[str, Any]]:
    """Inputs to add to a configuration that leaves them out."""
    stated = {entry["name"] for entry in config.get("input", [])}
    _refuse_unknown_inputs(stated, tensors)
    return [_completed(tensor, batched=batched) for tensor in tensors if tensor.name not in stated]


def allow_ragged(config: Mapping[str, Any]) -> None:
    """Let inputs that do not say otherwise differ in shape within a batch."""
    for entry in config.get("input", []):
        entry.setdefault("allow_ragged_batch", True)


def completed_outputs(
    config: Mapping[str, Any], tensors: Sequence[Tensor], *, batched: bool
) -> list[dict[str, Any]]:
    """Outputs to add behind those that a configuration states."""
    stated = len(config.get("output", []))
    if stated > len(tensors):
        raise ConfigError(_output_counts(stated, len(tensors)))
    return [_completed(tensor, batched=batched) for tensor in tensors[stated:]]


def _completed(tensor: Tensor, *, batched: bool) -> dict[str, Any]:
    if tensor.dtype is None or tensor.ndim is None:
        raise ConfigError(f'Missing data_type config for "{tensor.name}"')
    return {
        "name": tensor.name,
        "data_type": TRITON_TYPES[tensor.dtype],
        "dims": [-1] * (tensor.ndim + (0 if batched else 1)),
    }


def _refuse_unknown_inputs(stated: Mapping[str, Any] | set[str], tensors: Sequence[Tensor]) -> None:
    known = {tensor.name for tensor in tensors}
    for name in stated:
        if name not in known:
            raise ConfigError(
                f"Configuration file contains config for {name} but such input is not present in the "
                "pipeline."
            )


def _validate_tensor(entry: Mapping[str, Any], tensor: Tensor, *, batched: bool) -> None:
    name, stated = entry["name"], entry.get("data_type", "TYPE_INVALID")
    if stated == "TYPE_INVALID":
        raise ConfigError(f'Missing data_type config for "{name}"')
    if tensor.dtype is not None and TRITON_TYPES[tensor.dtype] != stated:
        raise ConfigError(
            f'Mismatch of data_type config for "{name}".\nData type defined in config: {stated}\n'
            f"Data type defined in pipeline: {TRITON_TYPES[tensor.dtype]}"
        )
    if tensor.ndim is not None:
        expected = tensor.ndim + (0 if batched else 1)
        if len(entry.get("dims", [])) != expected:
            raise ConfigError(
                f'Mismatch in number of dimensions for "{name}"\n'
                f"Number of dimensions defined in config: {len(entry.get('dims', []))}\n"
                f"Number of dimensions defined in pipeline: {expected}"
            )


def _output_counts(stated: int, actual: int) -> str:
    return (
        "The number of outputs specified in the DALI pipeline and the configuration file do not match."
        f"\nModel config outputs: {stated}\nPipeline outputs: {actual}"
    )


def _outside_braces(text: str) -> str:
    kept: list[str] = []
    depth = 0
    for character in text:
        if character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
        elif depth == 0:
            kept.append(character)
    return "".join(kept)
