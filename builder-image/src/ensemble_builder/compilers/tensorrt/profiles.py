"""Optimisation profiles: the user's, checked against the network, or one made from the batch size."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from ensemble_builder.compilers.tensorrt.report import fault
from ensemble_builder.faults import FaultError
from ensembles_api.reasons import Reason
from ensembles_api.spec import Profile, ShapeRange, ValueRange

DEFAULT_BATCH_SIZE = 4
"""Where the resource states none: tritonserver's own default-max-batch-size."""


@dataclass(frozen=True)
class NetworkTensor:
    """A tensor of the parsed network; -1 is a free axis. A shape tensor's values decide shapes of others."""

    name: str
    shape: tuple[int, ...]
    is_shape_tensor: bool = False


@dataclass(frozen=True)
class Wanted:
    """What the resource says. `field`: path of the model's tensorrt; `model_field`: of the model."""

    profiles: tuple[Profile, ...]
    max_batch_size: int | None
    opt_batch_size: int | None
    field: str
    model_field: str


@dataclass(frozen=True)
class Plan:
    """`ranges` and `values`: for each profile the shapes of every input with free axes, and the values of
    every shape tensor. `limit`: 0 without batching.
    """

    ranges: tuple[tuple[ShapeRange, ...], ...]
    values: tuple[tuple[ValueRange, ...], ...]
    batchable: bool
    limit: int


def plan(wanted: Wanted, inputs: Sequence[NetworkTensor], outputs: Sequence[NetworkTensor]) -> Plan:
    """Profiles for the network.

    A shape tensor may hold anything. Only where the resource says that the model batches is its first value
    the batch: tritonserver writes it there.

    Raises:
        FaultError: InvalidSpec naming the entry that does not fit, InvalidModel where it cannot batch.
    """
    deciding = [tensor for tensor in inputs if tensor.is_shape_tensor]
    plain = [tensor for tensor in (*inputs, *outputs) if not tensor.is_shape_tensor]
    batchable = all(tensor.shape and tensor.shape[0] < 0 for tensor in plain)
    if wanted.max_batch_size:
        _check_batching(wanted, plain, deciding, batchable=batchable)
    elif deciding:
        batchable = False
    batching = batchable and wanted.max_batch_size != 0
    free = [tensor for tensor in inputs if -1 in tensor.shape]
    if wanted.profiles:
        ranges = tuple(
            _checked(wanted, index, profile, free, inputs, batching=batching)
            for index, profile in enumerate(wanted.profiles)
        )
        values = tuple(
            _checked_values(wanted, index, profile, deciding, batching=batching)
            for index, profile in enumerate(wanted.profiles)
        )
        return Plan(ranges, values, batchable, _limit(wanted, ranges, values) if batching else 0)
    if deciding:
        size = max(1, *deciding[0].shape) if deciding[0].shape else 1
        raise _fault(
            f"{wanted.field}.profiles",
            f"the value of input {deciding[0].name!r} decides shapes: state its range, values: "
            f"[{{name: {deciding[0].name}, min: {[1] * size}, opt: …, max: …}}]",
        )
    limit = (wanted.max_batch_size or DEFAULT_BATCH_SIZE) if batching else 0
    if free:
        made: tuple[tuple[ShapeRange, ...], ...] = (_made(wanted, free, limit),)
    elif any(-1 in tensor.shape for tensor in outputs):
        # Their size hangs on values. TensorRT 8.6 builds such an engine without a profile, and cannot run it.
        made = (tuple(_fixed(tensor) for tensor in inputs),)
    else:
        made = ()
    return Plan(made, ((),) * len(made), batchable, limit)


def _check_batching(
    wanted: Wanted, plain: Sequence[NetworkTensor], deciding: Sequence[NetworkTensor], *, batchable: bool
) -> None:
    field = f"{wanted.model_field}.maxBatchSize"
    if not batchable:
        fixed = next(tensor for tensor in plain if not tensor.shape or tensor.shape[0] >= 0)
        raise fault(
            Reason.INVALID_MODEL,
            field,
            f"the first axis of {fixed.name!r} is fixed, shape {list(fixed.shape)}: export the "
            "model again with a dynamic first axis, or set maxBatchSize to 0",
        )
    for tensor in deciding:
        if not tensor.shape or tensor.shape[0] <= 1:
            raise fault(
                Reason.INVALID_MODEL,
                field,
                f"tritonserver puts the batch before the values of {tensor.name!r}, which has room for "
                "one: set maxBatchSize to 0, or export it with the batch as its first value",
            )


def _fault(field: str, message: str) -> FaultError:
    return fault(Reason.INVALID_SPEC, field, message)


def _made(wanted: Wanted, free: Sequence[NetworkTensor], limit: int) -> tuple[ShapeRange, ...]:
    opt = wanted.opt_batch_size or limit
    if limit and opt > limit:
        raise _fault(
            f"{wanted.field}.optBatchSize", f"{opt} is more than the largest batch, {limit}: lower it"
        )
    for tensor in free:
        axes = [axis for axis, size in enumerate(tensor.shape) if size < 0 and (axis or not limit)]
        if axes:
            listed = ", ".join(map(str, axes))
            example = ["?" if size < 0 else size for size in tensor.shape]
            raise _fault(
                f"{wanted.field}.profiles",
                f"input {tensor.name!r} has free axes ({listed}) besides the batch, {list(tensor.shape)}: "
                f"state their range, shapes: [{{name: {tensor.name}, min: {example}, opt: …, max: …}}]",
            )
    return tuple(
        ShapeRange(
            name=tensor.name,
            min=[1, *tensor.shape[1:]],
            opt=[opt, *tensor.shape[1:]],
            max=[limit, *tensor.shape[1:]],
        )
        for tensor in free
    )


def _fixed(tensor: NetworkTensor) -> ShapeRange:
    shape = list(tensor.shape)
    return ShapeRange(name=tensor.name, min=shape, opt=shape, max=shape)


def _checked(
    wanted: Wanted,
    index: int,
    profile: Profile,
    free: Sequence[NetworkTensor],
    inputs: Sequence[NetworkTensor],
    *,
    batching: bool,
) -> tuple[ShapeRange, ...]:
    field = f"{wanted.field}.profiles[{index}].shapes"
    known = {tensor.name: tensor for tensor in inputs}
    for place, entry in enumerate(profile.shapes):
        if entry.name not in known:
            near = difflib.get_close_matches(entry.name, known, n=1) or list(known)
            raise _fault(
                f"{field}[{place}].name", f"the model has no input {entry.name!r}; it has {', '.join(near)}"
            )
        _check_range(entry, known[entry.name], f"{field}[{place}]", batching=batching)
    _check_once(profile.shapes, field)
    given = {entry.name: entry for entry in profile.shapes}
    missing = [tensor for tensor in free if tensor.name not in given]
    if missing:
        raise _fault(
            field,
            f"input {missing[0].name!r}, shape {list(missing[0].shape)}, needs an entry in every profile",
        )
    return tuple(given[tensor.name] for tensor in free)


def _checked_values(
    wanted: Wanted, index: int, profile: Profile, deciding: Sequence[NetworkTensor], *, batching: bool
) -> tuple[ValueRange, ...]:
    field = f"{wanted.field}.profiles[{index}].values"
    known = {tensor.name: tensor for tensor in deciding}
    for place, entry in enumerate(profile.values):
        if entry.name not in known:
            has = ", ".join(known) or "none"
            raise _fault(
                f"{field}[{place}].name",
                f"{entry.name!r} is no input whose value decides shapes; of those the model has {has}",
            )
        size = max(1, *known[entry.name].shape) if known[entry.name].shape else 1
        if len(entry.min) != size:
            raise _fault(
                f"{field}[{place}]", f"{entry.name!r} holds {size} values, {len(entry.min)} are stated"
            )
        _check_order(entry, f"{field}[{place}]", what="value")
        if batching and entry.min[0] != 1:
            raise _fault(
                f"{field}[{place}].min", f"the first value of {entry.name!r} is the batch: set it to 1"
            )
    _check_once(profile.values, field)
    given = {entry.name: entry for entry in profile.values}
    for tensor in deciding:
        if tensor.name not in given:
            raise _fault(
                field, f"the value of input {tensor.name!r} decides shapes: give it in every profile"
            )
    return tuple(given[tensor.name] for tensor in deciding)


def _check_once(entries: Sequence[ShapeRange | ValueRange], field: str) -> None:
    names = [entry.name for entry in entries]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise _fault(f"{field}[{place}].name", f"{name!r} stands here twice: remove one")


def _check_range(entry: ShapeRange, tensor: NetworkTensor, field: str, *, batching: bool) -> None:
    for bound in ("min", "opt", "max"):
        dims: list[int] = getattr(entry, bound)
        if len(dims) != len(tensor.shape) or any(
            size not in (-1, stated) for size, stated in zip(tensor.shape, dims, strict=True)
        ):
            raise _fault(
                f"{field}.{bound}",
                f"{dims} does not fit {entry.name!r}, shape {list(tensor.shape)}: write every axis, batch "
                "first, and only free ones (-1) of your choice",
            )
    _check_order(entry, field, what="axis")
    if batching and entry.min[0] != 1:
        raise _fault(
            f"{field}.min",
            f"the batch of {entry.name!r} begins at {entry.min[0]}: set it to 1, as single requests come too",
        )


def _check_order(entry: ShapeRange | ValueRange, field: str, *, what: str) -> None:
    for place, (low, best, high) in enumerate(zip(entry.min, entry.opt, entry.max, strict=True)):
        if not low <= best <= high:
            raise _fault(
                f"{field}.opt" if low <= high else f"{field}.min",
                f"{what} {place} of {entry.name!r} goes {low}, {best}, {high}: min ≤ opt ≤ max must hold",
            )


def _limit(
    wanted: Wanted, ranges: Sequence[Sequence[ShapeRange]], values: Sequence[Sequence[ValueRange]]
) -> int:
    """The largest batch: of the profile that allows most, as the server picks a profile for each batch."""
    profiles: list[tuple[ShapeRange | ValueRange, ...]] = [
        (*shapes, *held) for shapes, held in zip(ranges, values, strict=True)
    ]
    allowed = max(min((entry.max[0] for entry in profile), default=0) for profile in profiles)
    if wanted.max_batch_size and wanted.max_batch_size > allowed:
        raise _fault(
            f"{wanted.field}.profiles",
            f"no profile reaches maxBatchSize {wanted.max_batch_size}; the largest is {allowed}: raise max",
        )
    return wanted.max_batch_size or allowed
