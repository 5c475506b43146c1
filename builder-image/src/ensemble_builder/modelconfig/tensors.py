"""Types and shapes: how they are written, and when two of them fit together."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tritonclient.grpc import model_config_pb2 as pb

from ensembles_api.contract import Tensor

ANY = -1
Dims = tuple[int, ...]


def type_name(data_type: int) -> str:
    """`FP32` for TYPE_FP32; `?` where the type is not known."""
    return str(pb.DataType.Name(data_type)).removeprefix("TYPE_") if data_type else "?"


def written(data_type: int, dims: Sequence[int]) -> str:
    """`FP32[3,224,224]`; an unknown shape is written `[?]`, as Triton has no tensors without dims."""
    return f"{type_name(data_type)}[{','.join(map(str, dims)) or '?'}]"


def written_tensor(tensor: Tensor) -> str:
    """As `written`, for a tensor of an artifact, whose shape may be empty (a scalar)."""
    return f"{tensor.data_type.removeprefix('TYPE_')}[{','.join(map(str, tensor.shape))}]"


def compatible(left: Sequence[int], right: Sequence[int]) -> bool:
    """Equal rank, and on each axis equal sizes or a -1 (triton-common CompareDimsWithWildcard)."""
    return len(left) == len(right) and all(a == b or ANY in (a, b) for a, b in zip(left, right, strict=True))


def narrowed(left: Sequence[int], right: Sequence[int]) -> Dims:
    """The sizes both shapes allow; they must be compatible."""
    return tuple(b if a == ANY else a for a, b in zip(left, right, strict=True))


def reshape_problem(dims: Sequence[int], reshape: Sequence[int], *, batching: bool) -> str | None:
    """What the server would refuse about a reshape (core: ValidateIOShape), or None.

    Args:
        dims: shape that clients see, without the batch axis.
        reshape: shape that the model sees, without the batch axis.
        batching: whether max_batch_size is greater than 0.
    """
    if not reshape:
        if not batching:
            return "an empty reshape needs a batching model, because Triton has no scalar tensors"
        return None if prod(dims) == 1 and ANY not in dims else "an empty reshape needs dims of one element"
    if _runs(dims) != _runs(reshape):
        return f"{list(dims)} and {list(reshape)} hold different numbers of elements"
    return None


def _runs(dims: Sequence[int]) -> list[int]:
    """Element counts between the wildcards: [2,4,-1,6] -> [8, 6]."""
    counts = [1]
    for dim in dims:
        if dim == ANY:
            counts.append(1)
        else:
            counts[-1] *= dim
    return counts
