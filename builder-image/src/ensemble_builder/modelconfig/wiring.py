"""Checks an ensemble's graph against the models it calls.

The rules are the server's (core ensemble_utils.cc ValidateEnsembleConfig, model_config_utils.cc
ValidateEnsembleSchedulingConfig), found before anything is built instead of when the server loads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ensemble_builder.faults import FaultError
from ensemble_builder.modelconfig.errors import invalid_wiring, listed, nearest
from ensemble_builder.modelconfig.graph import Endpoint, Link, Signature, StepLinks, Wiring
from ensemble_builder.modelconfig.tensors import written

Side = Literal["input", "output"]


@dataclass(frozen=True)
class Graph:
    """A wiring that has been checked."""

    wiring: Wiring
    producers: Mapping[str, Endpoint]
    """Ensemble tensor -> the output that writes it."""
    consumers: Mapping[str, tuple[Endpoint, ...]]
    """Ensemble tensor -> the inputs that read it, in step order."""
    origins: Mapping[str, str]
    """Ensemble tensor -> the decoupled step its responses come from; absent or empty: the request itself."""

    @property
    def decoupled(self) -> bool:
        """Some step answers a request any number of times, hence so does the ensemble."""
        return any(self.origins.values())

    @property
    def unfed(self) -> tuple[str, ...]:
        """Tensors that no step writes, in step order: the ensemble's inputs."""
        return tuple(tensor for tensor in self.consumers if tensor not in self.producers)

    @property
    def unconsumed(self) -> tuple[str, ...]:
        """Tensors that no step reads, in step order."""
        return tuple(tensor for tensor in self.producers if tensor not in self.consumers)


def check_wiring(
    wiring: Wiring, signatures: Mapping[str, Signature], *, declared: Collection[str] = ()
) -> Graph:
    """Checks a graph and says who writes and who reads each tensor.

    Args:
        wiring: the steps.
        signatures: all models they may call, by name.
        declared: tensors whose shapes a hand-written ensemble states. The server holds writer and readers of
            these against the statement alone, which lets some through that disagree among themselves.

    Raises:
        FaultError: InvalidWiring naming step, model, tensor, what was expected and what was found.
    """
    producers: dict[str, Endpoint] = {}
    consumers: dict[str, list[Endpoint]] = {}
    for step in wiring.steps:
        signature = find_model(step, signatures, wiring)
        for link in step.inputs:
            consumers.setdefault(link.tensor, []).append(_endpoint(signature, "input", step, link))
        _require_inputs(signature, step)
        for link in step.outputs:
            endpoint = _endpoint(signature, "output", step, link)
            if link.tensor in producers:
                raise _written_twice(producers[link.tensor], endpoint)
            producers[link.tensor] = endpoint
        _refuse_repeated(step)
    for tensor, readers in consumers.items():
        if tensor not in declared:
            _agree(tensor, producers.get(tensor), readers)
    origins = _check_responses(_ordered(wiring, producers), signatures)
    return Graph(wiring, producers, {tensor: tuple(ends) for tensor, ends in consumers.items()}, origins)


def find_model(step: StepLinks, signatures: Mapping[str, Signature], wiring: Wiring) -> Signature:
    field = step.field if step.field.endswith("]") and ".chain[" in step.field else f"{step.field}.model"
    if step.model == wiring.ensemble:
        raise invalid_wiring(field, f"ensemble {wiring.ensemble} cannot call itself: name another model")
    signature = signatures.get(step.model)
    if signature is None:
        hint = nearest(step.model, list(signatures)) or f"; there are {listed(signatures)}"
        raise invalid_wiring(field, f"there is no model {step.model}{hint}")
    if step.version != -1 and signature.versions is not None and step.version not in signature.versions:
        raise invalid_wiring(
            f"{step.field}.version",
            f"version {step.version} of {step.model} is not served, only "
            f"{listed(map(str, sorted(signature.versions)))}: name one of them, or state "
            f"config.version_policy of {step.model}",
        )
    return signature


def described(tensors: Sequence[Any]) -> str:
    return listed(f"{tensor.name} {written(tensor.data_type, tensor.dims)}" for tensor in tensors)


def _endpoint(signature: Signature, side: Side, step: StepLinks, link: Link) -> Endpoint:
    tensors = signature.config.input if side == "input" else signature.config.output
    known = signature.inputs_known if side == "input" else signature.outputs_known
    for tensor in tensors:
        if tensor.name == link.name:
            optional = side == "input" and bool(tensor.optional)
            return Endpoint(step, link, tensor.data_type, tuple(tensor.dims), signature.batching, optional)
    if known:
        names = [tensor.name for tensor in tensors]
        raise invalid_wiring(
            link.field,
            f"{step.label}: {step.model} has no {side} {link.name}; its {side}s are "
            f"{described(tensors)}{nearest(link.name, names)}",
        )
    return Endpoint(step, link, 0, (), signature.batching)


def _require_inputs(signature: Signature, step: StepLinks) -> None:
    fed = {link.name for link in step.inputs}
    for tensor in signature.config.input:
        if tensor.name not in fed and not tensor.optional:
            raise invalid_wiring(
                f"{step.field}.inputs",
                f"{step.label}: input {tensor.name} {written(tensor.data_type, tensor.dims)} of {step.model} "
                "is not "
                f'fed: add {{name: "{tensor.name}", from: <tensor>}}',
            )


def _refuse_repeated(step: StepLinks) -> None:
    for links, side in ((step.inputs, "input"), (step.outputs, "output")):
        seen: set[str] = set()
        for link in links:
            if link.name in seen:
                raise invalid_wiring(
                    link.field, f"{step.label}: {side} {link.name} is mapped twice: remove one of the two"
                )
            seen.add(link.name)


def _written_twice(first: Endpoint, second: Endpoint) -> FaultError:
    return invalid_wiring(
        second.link.field,
        f"tensor {second.link.tensor} is written by {first.step.label} from its output {first.link.name} and "
        f"again by {second.step.label} from its output {second.link.name}: give one of them another name",
    )


def _agree(tensor: str, producer: Endpoint | None, readers: Sequence[Endpoint]) -> None:
    first = producer or readers[0]
    for reader in readers:
        if first.fits(reader):
            continue
        full = first.batching != reader.batching
        note = " (batch axis included)" if full else ""
        found = f"{first.written(full=full)}{note}"
        expected = f"{reader.step.label} expects {reader.written(full=full)} as input {reader.link.name}"
        if producer is None:
            raise invalid_wiring(
                reader.link.field,
                f"tensor {tensor} is an input of the ensemble, and {expected}, but {first.step.label} "
                f"expects {found} as input {first.link.name}: feed them from two tensors",
            )
        raise invalid_wiring(
            reader.link.field,
            f"tensor {tensor}: {expected}, but {first.step.label} gives {found} as output {first.link.name}: "
            "change one of the models, or put one between them that converts",
        )


def _ordered(wiring: Wiring, producers: Mapping[str, Endpoint]) -> list[StepLinks]:
    """Steps in an order in which they can run.

    Raises:
        FaultError: InvalidWiring, if steps wait for each other, naming them.
    """
    waiting = list(wiring.steps)
    order: list[StepLinks] = []
    written_tensors: set[str] = set()
    while waiting:
        ready = [
            step
            for step in waiting
            if all(link.tensor in written_tensors or link.tensor not in producers for link in step.inputs)
        ]
        if not ready:
            raise _cycle(waiting, producers)
        order += ready
        waiting = [step for step in waiting if step not in ready]
        written_tensors |= {link.tensor for step in ready for link in step.outputs}
    return order


def _cycle(waiting: Sequence[StepLinks], producers: Mapping[str, Endpoint]) -> FaultError:
    """Follows unready inputs back until a step comes up again."""
    path: list[tuple[StepLinks, Link]] = []
    step = waiting[0]
    while all(step != seen for seen, _ in path):
        link = next(
            link
            for link in step.inputs
            if link.tensor in producers and producers[link.tensor].step in waiting
        )
        path.append((step, link))
        step = producers[link.tensor].step
    loop = path[[seen for seen, _ in path].index(step) :]
    told = "; ".join(
        f"{seen.label} reads {link.tensor} of {producers[link.tensor].step.label}" for seen, link in loop
    )
    return invalid_wiring(
        loop[0][1].field,
        f"the steps wait for each other in a circle: {told}. Feed one of them from another tensor",
    )


def _check_responses(order: Sequence[StepLinks], signatures: Mapping[str, Signature]) -> dict[str, str]:
    """Follows responses through the steps; one step may not join those of different decoupled models."""
    origins: dict[str, str] = {}
    for step in order:
        source = _one_origin(f"{step.label} reads", step.inputs, origins)
        if signatures[step.model].decoupled:
            source = step.label
        origins.update({link.tensor: source for link in step.outputs})
    return origins


def check_output_origins(graph: Graph, outputs: Sequence[str]) -> None:
    """The ensemble's outputs, too, must belong to one and the same request or decoupled response."""
    links = [graph.producers[tensor].link for tensor in outputs]
    _one_origin(f"{graph.wiring.ensemble} returns", links, graph.origins)


def _one_origin(who: str, links: Sequence[Link], origins: Mapping[str, str]) -> str:
    sources: dict[str, Link] = {}
    for link in links:
        sources.setdefault(origins.get(link.tensor, ""), link)
    if len(sources) > 1:
        first, second = list(sources.items())[:2]
        raise invalid_wiring(
            second[1].field,
            f"{who} both {_told_origin(*first)} and {_told_origin(*second)}; a decoupled model answers any "
            "number of times, so that the server cannot pair the two: pass the one through the decoupled "
            "model as well",
        )
    return next(iter(sources), "")


def _told_origin(source: str, link: Link) -> str:
    way = f"comes through the decoupled {source}" if source else "comes straight from the request"
    return f"{link.tensor}, which {way},"


def missing_dali_outputs(
    wiring: Wiring, signatures: Mapping[str, Signature]
) -> Iterator[tuple[StepLinks, str]]:
    """Outputs that must be mapped although nobody reads them."""
    for step in wiring.steps:
        signature = signatures.get(step.model)
        if signature is None or not signature.needs_all_outputs:
            continue
        mapped = {link.name for link in step.outputs}
        for output in signature.config.output:
            if output.name not in mapped:
                yield step, output.name
