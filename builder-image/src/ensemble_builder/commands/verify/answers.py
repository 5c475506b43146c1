"""What an answer must look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelOutput

from ensemble_builder.commands.verify.requests import Array, wire_type


def complaints(
    config: ModelConfig, answer: Mapping[str, tuple[str, Array]], *, batch: int | None, streamed: bool
) -> Iterator[str]:
    """What is wrong with an answer, each naming the tensor and the figures.

    Args:
        config: the model's config; every output it lists must be there.
        answer: output name -> (type on the wire, value).
        batch: leading axis of the request, None where the model does not batch.
        streamed: one of several responses: its leading axis is its own.
    """
    for output in config.output:
        if output.name not in answer:
            yield f"output {output.name!r} is missing; there are {', '.join(answer) or 'none'}"
            continue
        data_type, value = answer[output.name]
        yield from _type(output, data_type)
        yield from _shape(output, value.shape, batch, streamed=streamed)
        yield from _finite(output, value)


def _type(output: ModelOutput, found: str) -> Iterator[str]:
    expected = wire_type(DataType.Name(output.data_type))
    if found != expected:
        yield f"output {output.name!r} is {found} instead of {expected}"


def _shape(
    output: ModelOutput, found: tuple[int, ...], batch: int | None, *, streamed: bool
) -> Iterator[str]:
    leading = () if batch is None else (-1 if streamed else batch,)
    expected = (*leading, *output.dims)
    fits = len(found) == len(expected) and all(
        want in {-1, have} for want, have in zip(expected, found, strict=True)
    )
    if not fits:
        yield f"output {output.name!r} has shape {list(found)} instead of {list(expected)}"


def _finite(output: ModelOutput, value: Array) -> Iterator[str]:
    if not np.issubdtype(value.dtype, np.floating):
        return
    bad = np.argwhere(~np.isfinite(value))
    if len(bad):
        first = tuple(int(axis) for axis in bad[0])
        yield (
            f"output {output.name!r}: {len(bad)} of {value.size} values are not finite, the first at "
            f"{list(first)}: {value[first]}"
        )
