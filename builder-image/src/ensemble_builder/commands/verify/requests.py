"""Inputs of a verification request: samples, or zeros where there are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInput
from tritonclient.utils import deserialize_bytes_tensor, triton_to_np_dtype

from ensembles_api.contract import SampleTensor
from ensembles_api.verification import VerificationCase

FREE_SIZES = (16, 224, 1)
"""Sizes tried for axes of any size: a short text, an image, a single value."""
BYTES_LIMIT = 64 << 20
"""Bytes of one request: a largest batch beyond it is asked with as many as fit."""

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Input:
    name: str
    data_type: str
    """As on the wire, e.g. FP32 or BYTES."""
    value: Array


@dataclass(frozen=True)
class Request:
    """One inference. `batch`: size of the leading axis, None where the model does not batch."""

    inputs: tuple[Input, ...]
    batch: int | None
    description: str


def requests(
    case: VerificationCase, config: ModelConfig, folder: Path, *, sequence: bool
) -> Iterator[tuple[Request, ...]]:
    """Requests of a case: the user's as it stands; of a smoke test, for each batch size (1 and the largest)
    the alternatives, of which one must do.

    Args:
        case: what to ask; inputs it leaves out are zeros, optional ones are left out.
        config: the model's config as the server reports it.
        folder: where the sample files lie.
        sequence: the model, or a step of it, keeps state: such models take batches of 1 only.
    """
    if case.name:
        yield (given(case, config, folder),)
        return
    samples = {tensor.name: tensor for tensor in case.inputs}
    free = any(-1 in tensor.dims for tensor in config.input if tensor.name not in samples)
    single = [_single(config, samples, folder, size) for size in (FREE_SIZES if free else FREE_SIZES[:1])]
    if not config.max_batch_size:
        yield tuple(Request(inputs, None, _describe(case)) for inputs in single)
        return
    yield tuple(Request(inputs, 1, f"{_describe(case)}, batch 1") for inputs in single)
    if config.max_batch_size > 1 and not sequence:
        yield tuple(_batched(inputs, config.max_batch_size, _describe(case)) for inputs in single)


def given(case: VerificationCase, config: ModelConfig, folder: Path) -> Request:
    """The request of a user's case."""
    inputs = tuple(sampled(tensor, folder) for tensor in case.inputs)
    return Request(inputs, inputs[0].value.shape[0] if config.max_batch_size else None, "")


def _describe(case: VerificationCase) -> str:
    return "with a sample" if case.inputs else "with zeros"


def _single(
    config: ModelConfig, samples: Mapping[str, SampleTensor], folder: Path, free_size: int
) -> tuple[Input, ...]:
    return tuple(
        sampled(samples[tensor.name], folder)
        if tensor.name in samples
        else _zeros(tensor, batched=config.max_batch_size > 0, free_size=free_size)
        for tensor in config.input
        if tensor.name in samples or not tensor.optional
    )


def sampled(tensor: SampleTensor, folder: Path) -> Input:
    """The value of a tensor whose bytes lie in a folder."""
    data_type = wire_type(tensor.data_type)
    raw = (folder / tensor.file).read_bytes()
    if data_type == "BYTES":
        value = deserialize_bytes_tensor(raw)
    else:
        value = np.frombuffer(raw, triton_to_np_dtype(data_type))
    return Input(tensor.name, data_type, value.reshape(tensor.shape))


def _zeros(tensor: ModelInput, *, batched: bool, free_size: int) -> Input:
    data_type = wire_type(DataType.Name(tensor.data_type))
    shape = ([1] if batched else []) + [free_size if dim < 0 else dim for dim in tensor.dims]
    if data_type == "BYTES":
        return Input(tensor.name, data_type, np.full(shape, b"", dtype=np.object_))
    return Input(tensor.name, data_type, np.zeros(shape, triton_to_np_dtype(data_type)))


def _batched(inputs: tuple[Input, ...], largest: int, description: str) -> Request:
    size = max(1, sum(item.value.nbytes for item in inputs))
    batch = max(1, min(largest, BYTES_LIMIT // size))
    tiled = tuple(
        Input(item.name, item.data_type, np.repeat(item.value[:1], batch, axis=0)) for item in inputs
    )
    return Request(tiled, batch, f"{description}, batch {batch}")


def wire_type(data_type: str) -> str:
    """Triton's wire name of a config's data type: TYPE_FP32 -> FP32, TYPE_STRING -> BYTES."""
    name = data_type.removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name
