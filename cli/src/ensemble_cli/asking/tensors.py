"""Inputs of a request from files or at random, as the model's config wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import triton_to_np_dtype

from ensemble_builder.artifacts.npy import read_npy
from ensemble_builder.commands.verify.requests import Input, wire_type
from ensemble_cli.exits import CommandError, Exit

Array = NDArray[np.generic]
FREE_IMAGE, FREE_VECTOR = 224, 16
"""Sizes for axes of any size: of a tensor with several axes, and with one."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model; `dims` without the batch axis."""

    name: str
    data_type: str
    """As on the wire, e.g. FP32 or BYTES."""
    dims: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.data_type} {list(self.dims)}"


@dataclass(frozen=True)
class ModelView:
    """What a request has to know of a model."""

    name: str
    batched: bool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    decoupled: bool = False


def model_view(config: Mapping[str, Any]) -> ModelView:
    """From a model's config as the server gives it in JSON."""
    return ModelView(
        name=config["name"],
        batched=int(config.get("max_batch_size", 0)) > 0,
        inputs=tuple(map(_tensor, config.get("input", []))),
        outputs=tuple(map(_tensor, config.get("output", []))),
        decoupled=bool(config.get("model_transaction_policy", {}).get("decoupled")),
    )


def _tensor(found: Mapping[str, Any]) -> Tensor:
    dims = tuple(int(size) for size in found.get("dims", []))
    return Tensor(found["name"], wire_type(found["data_type"]), dims, bool(found.get("optional")))


def make_inputs(
    model: ModelView, *, files: Sequence[str], images: Sequence[str], random: bool, seed: int = 0
) -> tuple[Input, ...]:
    """The inputs of one request.

    Args:
        model: who is asked.
        files: TENSOR=FILE.npy.
        images: [TENSOR=]FILE, whose bytes are sent as they are.
        random: fill what is not given.
        seed: of what is random.

    Raises:
        CommandError: naming the tensor, and what it wants.
    """
    given = {
        **dict(_from_file(model, text) for text in files),
        **dict(_encoded(model, text) for text in images),
    }
    generator = np.random.default_rng(seed)
    missing = [tensor for tensor in model.inputs if tensor.name not in given and not tensor.optional]
    if missing and not random:
        wanted = ", ".join(map(str, missing))
        raise CommandError(
            f"model {model.name!r} also wants {wanted}",
            cure="give --image FILE, --input TENSOR=FILE.npy, or --random",
            status=Exit.USAGE,
        )
    for tensor in missing:
        given[tensor.name] = _random(tensor, generator, batched=model.batched)
    return tuple(given[tensor.name] for tensor in model.inputs if tensor.name in given)


def _find(model: ModelView, name: str) -> Tensor:
    for tensor in model.inputs:
        if tensor.name == name:
            return tensor
    known = ", ".join(map(str, model.inputs))
    raise CommandError(
        f"model {model.name!r} has no input {name!r}", cure=f"it has {known}", status=Exit.USAGE
    )


def _from_file(model: ModelView, text: str) -> tuple[str, Input]:
    name, equals, file = text.partition("=")
    if not equals:
        raise CommandError(
            f"{text!r} names no tensor", cure="write --input TENSOR=FILE.npy", status=Exit.USAGE
        )
    tensor = _find(model, name)
    try:
        value: Array = read_npy(Path(file).read_bytes())
    except (OSError, ValueError) as error:
        raise CommandError(
            f"{file}: {' '.join(str(error).split())}", cure="numpy.save writes such files", status=Exit.USAGE
        ) from error
    if model.batched and value.ndim == len(tensor.dims):
        value = value[np.newaxis]
    if tensor.data_type == "BYTES":
        value = value.astype(np.object_)
        return name, Input(name, tensor.data_type, value)
    # A .npy file cannot say bfloat16: it holds float32, which is rounded.
    wanted = np.dtype(np.float32 if tensor.data_type == "BF16" else triton_to_np_dtype(tensor.data_type))
    if value.dtype != wanted:
        cure = f"save it with .astype({wanted.name!r})"
        raise CommandError(
            f"{file} holds {value.dtype}, input {tensor} does not", cure=cure, status=Exit.USAGE
        )
    return name, Input(name, tensor.data_type, value.astype(triton_to_np_dtype(tensor.data_type)))


def _encoded(model: ModelView, text: str) -> tuple[str, Input]:
    name, equals, file = text.partition("=")
    tensor = _find(model, name) if equals and name in {each.name for each in model.inputs} else None
    if tensor is None:
        file, tensor = text, _only_encoded(model)
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", cure="check the path", status=Exit.USAGE) from error
    value: Array
    if tensor.data_type == "BYTES":
        shape = ([1] if model.batched else []) + [1 for _ in tensor.dims]
        value = np.full(shape, content, dtype=np.object_)
    else:
        value = np.frombuffer(content, np.uint8)
        value = value[np.newaxis] if model.batched else value
    return tensor.name, Input(tensor.name, tensor.data_type, value)


def _only_encoded(model: ModelView) -> Tensor:
    """The one input that takes a file's bytes."""
    fitting = [
        tensor
        for tensor in model.inputs
        if tensor.data_type == "BYTES" or (tensor.data_type == "UINT8" and tensor.dims == (-1,))
    ]
    if len(fitting) == 1:
        return fitting[0]
    inputs = ", ".join(map(str, model.inputs))
    cure = "say which: --image TENSOR=FILE" if fitting else "give arrays: --input TENSOR=FILE.npy"
    raise CommandError(
        f"{len(fitting)} inputs of {model.name!r} take encoded bytes (it has {inputs})",
        cure=cure,
        status=Exit.USAGE,
    )


def _random(tensor: Tensor, generator: np.random.Generator, *, batched: bool) -> Input:
    free = FREE_IMAGE if len(tensor.dims) > 1 else FREE_VECTOR
    shape = ([1] if batched else []) + [free if size < 0 else size for size in tensor.dims]
    value: Array
    if tensor.data_type == "BYTES":
        value = np.full(shape, b"random", dtype=np.object_)
    elif tensor.data_type.startswith(("FP", "BF")):
        value = generator.random(shape, np.float32).astype(triton_to_np_dtype(tensor.data_type))
    else:
        value = generator.integers(0, 2, shape).astype(triton_to_np_dtype(tensor.data_type))
    return Input(tensor.name, tensor.data_type, value)
