"""Batch sizes and shapes of an ensemble whose members may batch or not.

The scheduler passes a tensor between a batching and another model if the shapes agree with the batch axis
written out, and otherwise adds or strips a batch axis of size 1 (core ensemble_scheduler.cc,
ReshapeTensorDims): a member that does not batch can therefore take part in batches only if its own first axis
is free and is the batch axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ensemble_builder.modelconfig.errors import invalid_wiring
from ensemble_builder.modelconfig.graph import Endpoint, Signature, Wiring
from ensemble_builder.modelconfig.tensors import ANY, Dims, compatible, narrowed
from ensemble_builder.modelconfig.wiring import Graph


def check_batch_size(
    size: int, ensemble: str, wiring: Wiring, signatures: Mapping[str, Signature], field: str
) -> None:
    """Raises FaultError (InvalidWiring), if a batching member allows less than the ensemble."""
    for step in wiring.steps:
        called = signatures[step.model]
        limit = called.config.max_batch_size
        if called.batch_known and 0 < limit < size:
            raise invalid_wiring(
                field,
                f"is {size}, but {step.label} of {ensemble} allows batches of at most {limit}: lower it, or "
                f"raise the batch size of {step.model}",
            )


def default_batch_size(graph: Graph, signatures: Mapping[str, Signature]) -> tuple[int | None, str]:
    """The least batch size of the batching members, and a note where a member prevents batching.

    Returns:
        None as size while a member's is not known.
    """
    called = [signatures[step.model] for step in graph.wiring.steps]
    if not all(signature.batch_known for signature in called):
        return None, ""
    sizes = [signature.config.max_batch_size for signature in called if signature.batching]
    if not sizes:
        return 0, ""
    end = single_item_end(graph)
    if end is None:
        return min(sizes), ""
    return 0, (
        f"does not batch, because {end.step.label} takes or gives single items ({end.written(full=False)} as "
        f"{end.link.name}): give {end.step.model} a maxBatchSize, or state the ensemble's"
    )


def single_item_end(graph: Graph) -> Endpoint | None:
    """A tensor of a member that neither batches nor takes a batch axis of its own, or None."""
    return next(
        (end for end in _ends(graph) if end.batching is False and not _carries_batch(end, graph)), None
    )


def _ends(graph: Graph) -> Iterator[Endpoint]:
    for ends in graph.consumers.values():
        yield from ends
    yield from graph.producers.values()


def _carries_batch(end: Endpoint, graph: Graph) -> bool:
    """Whether the first axis of a tensor of a model that does not batch can be the batch axis."""
    if not end.dims:
        return True
    if len(end.dims) == 1 or end.dims[0] != ANY:
        return False
    tensor = end.link.tensor
    others = [
        *graph.consumers.get(tensor, ()),
        *([graph.producers[tensor]] if tensor in graph.producers else []),
    ]
    return not any(other.batching and compatible(other.dims, end.dims) for other in others)


def ensemble_dims(ends: Sequence[Endpoint], *, batching: bool) -> Dims | None:
    """Shape of an ensemble's input or output, given the members' tensors behind it.

    Args:
        ends: all readers of an input, or the one writer of an output.
        batching: whether the ensemble batches (its dims then leave the batch axis out).

    Returns:
        The first shape that agrees with every end, with a size wherever one end has one. Empty where none of
        the ends is known, None where no shape agrees with all of them.
    """
    known = [end for end in ends if end.dims]
    if not known:
        return ()
    for candidate in _candidates(known, batching=batching):
        dims = candidate
        for end in known:
            if compatible(dims, end.dims):
                dims = narrowed(dims, end.dims)
        if all(Endpoint(end.step, end.link, 0, dims, batching).fits(end) for end in known):
            return dims
    return None


def _candidates(ends: Sequence[Endpoint], *, batching: bool) -> Iterator[Dims]:
    batched = [end.dims for end in ends if end.batching]
    single = [end.dims for end in ends if not end.batching]
    if batching:
        yield from batched
        yield from (dims[1:] for dims in single if len(dims) > 1 and dims[0] == ANY)
        yield from single
    else:
        yield from single
        yield from batched
        yield from ((ANY, *dims) for dims in batched)
