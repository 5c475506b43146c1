"""An ensemble's config: its steps, and the inputs, outputs and batch size that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from ensemble_builder.faults import FaultError
from ensemble_builder.modelconfig.backends import ENSEMBLE
from ensemble_builder.modelconfig.batching import (
    check_batch_size,
    default_batch_size,
    ensemble_dims,
    single_item_end,
)
from ensemble_builder.modelconfig.chain import wiring_of_chain
from ensemble_builder.modelconfig.declare import merge_tensors
from ensemble_builder.modelconfig.errors import invalid_config, invalid_wiring, listed, nearest
from ensemble_builder.modelconfig.fields import parse_stated
from ensemble_builder.modelconfig.graph import Endpoint, Link, Signature, Wiring, wiring_of_steps
from ensemble_builder.modelconfig.members import Member
from ensemble_builder.modelconfig.merge import overlay
from ensemble_builder.modelconfig.tensors import written
from ensemble_builder.modelconfig.wiring import (
    Graph,
    check_output_origins,
    check_wiring,
    missing_dali_outputs,
)

REFUSED = ("instance_group", "optimization", "model_warmup", "dynamic_batching", "sequence_batching")
"""ModelConfig fields that belong to the members: the server refuses them on an ensemble."""


@dataclass(frozen=True)
class BuiltEnsemble:
    signature: Signature
    warnings: tuple[str, ...]
    complete: bool
    """False: a member's tensors are not known yet, and the config cannot be written."""


def build_ensemble(member: Member, signatures: Mapping[str, Signature], *, partial: bool) -> BuiltEnsemble:
    """Checks an ensemble of the spec and writes its config.

    Args:
        member: the ensemble.
        signatures: all models it may call, by name.
        partial: unknown tensors of members are skipped instead of being an error.

    Raises:
        FaultError: InvalidWiring or InvalidConfig.
    """
    stated: Mapping[str, Any] = member.model.config or {}
    _check_stated(member, stated)
    wiring = _wiring(member, signatures, partial=partial)
    if wiring is None:
        return _unknown(member)
    wiring, notes = _expose_dali_outputs(wiring, signatures, stated, member)
    graph = check_wiring(wiring, signatures)
    config = pb.ModelConfig(name=member.name, platform=ENSEMBLE)
    overlay(config, stated, leave_out=("input", "output", "max_batch_size"))
    _write_steps(config, wiring)
    batch_known, note = _state_batch_size(member, config, graph, signatures, stated, partial=partial)
    notes += note
    unknown = _state_inputs(member, config, graph, stated) + _state_outputs(member, config, graph, stated)
    if unknown and not partial:
        raise _unknown_tensor(member, unknown[0])
    _state_labels(member, config)
    notes += _ragged_notes(member, config) + _misspelling_notes(member, graph)
    signature = Signature(
        member.name, config, inputs_known=not unknown, outputs_known=not unknown, batch_known=batch_known,
        versions=frozenset({1}), decoupled=graph.decoupled,
    )  # fmt: skip
    return BuiltEnsemble(signature, tuple(notes), complete=not unknown and batch_known)


def called_models(member: Member) -> tuple[str, ...]:
    """Names of the models an ensemble of the spec calls."""
    ensemble = member.model.ensemble
    if ensemble is None:
        return ()
    return tuple(ensemble.chain or ()) or tuple(step.model for step in ensemble.steps or ())


def _unknown(member: Member) -> BuiltEnsemble:
    config = pb.ModelConfig(name=member.name, platform=ENSEMBLE)
    signature = Signature(member.name, config, inputs_known=False, outputs_known=False, batch_known=False)
    return BuiltEnsemble(signature, (), complete=False)


def _check_stated(member: Member, stated: Mapping[str, Any]) -> None:
    field = f"{member.field}.config"
    parse_stated(stated, field)
    scheduling = stated.get("ensemble_scheduling") or {}
    if scheduling.get("step") is not None:
        raise invalid_config(
            f"{field}.ensemble_scheduling.step", "describe the steps in ensemble.steps instead"
        )
    if stated.get("name") not in (None, member.name):
        raise invalid_config(f"{field}.name", f"differs from the model's name {member.name}: remove it")
    if stated.get("backend") or stated.get("platform") not in (None, "", ENSEMBLE):
        key = "backend" if stated.get("backend") else "platform"
        raise invalid_config(f"{field}.{key}", "an ensemble has platform ensemble and no backend: remove it")
    for key in REFUSED:
        if stated.get(key) is not None:
            raise invalid_config(
                f"{field}.{key}", f"an ensemble has no {key} of its own: state it on its members"
            )


def _wiring(member: Member, signatures: Mapping[str, Signature], *, partial: bool) -> Wiring | None:
    ensemble = member.model.ensemble
    if ensemble is None:
        raise ValueError(f"{member.name} is not an ensemble")
    if ensemble.chain:
        return wiring_of_chain(member.name, member.field, ensemble.chain, signatures, partial=partial)
    return wiring_of_steps(member.name, member.field, ensemble.steps or [])


def _expose_dali_outputs(
    wiring: Wiring, signatures: Mapping[str, Signature], stated: Mapping[str, Any], member: Member
) -> tuple[Wiring, list[str]]:
    notes = []
    outputs = {entry.get("name") for entry in stated.get("output") or []}
    for step, output in list(missing_dali_outputs(wiring, signatures)):
        name = output if output not in wiring.tensors else f"{step.model}/{output}"
        if outputs and name not in outputs:
            raise invalid_wiring(
                f"{step.field}.outputs" if ".steps[" in step.field else step.field,
                f"{step.label}: output {output} of the DALI pipeline has no consumer, and config.output does "
                "not name it; DALI cannot leave an output out: drop it from the pipeline's return, or add "
                f"{name} to config.output",
            )
        wiring = wiring.with_output(step.number, Link(output, name, step.field))
        notes.append(
            f"{member.field}: output {output} of the DALI model {step.model} has no consumer and becomes "
            f"output {name} of {member.name}, because DALI cannot leave an output out: drop it from the "
            "pipeline's return if unwanted"
        )
    return wiring, notes


def _write_steps(config: pb.ModelConfig, wiring: Wiring) -> None:
    for links in wiring.steps:
        step = config.ensemble_scheduling.step.add(model_name=links.model, model_version=links.version)
        for link in links.inputs:
            step.input_map[link.name] = link.tensor
        for link in links.outputs:
            step.output_map[link.name] = link.tensor


def _state_batch_size(
    member: Member,
    config: pb.ModelConfig,
    graph: Graph,
    signatures: Mapping[str, Signature],
    stated: Mapping[str, Any],
    *,
    partial: bool,
) -> tuple[bool, list[str]]:
    spec, own = member.model.max_batch_size, stated.get("max_batch_size")
    if spec is not None and own is not None and int(own) != spec:
        raise invalid_config(
            f"{member.field}.config.max_batch_size",
            f"is {own}, but {member.field}.maxBatchSize is {spec}: remove one",
        )
    if spec is None and own is None:
        size, note = default_batch_size(graph, signatures)
        if size is None and not partial:
            raise _unknown_batch_size(member, graph, signatures)
        config.max_batch_size = size or 0
        return size is not None, [f"{member.field}: ensemble {member.name} {note}"] if note else []
    config.max_batch_size = int(own or 0) if spec is None else spec
    field = f"{member.field}.{'config.max_batch_size' if spec is None else 'maxBatchSize'}"
    check_batch_size(config.max_batch_size, member.name, graph.wiring, signatures, field)
    end = single_item_end(graph) if config.max_batch_size > 1 else None
    if end is None:
        return True, []
    note = (
        f"{field}: batches of more than 1 will fail, because {end.step.label} takes or gives single items "
        f"({end.written(full=False)} as {end.link.name}): give {end.step.model} a maxBatchSize"
    )
    return True, [note]


def _unknown_batch_size(member: Member, graph: Graph, signatures: Mapping[str, Signature]) -> FaultError:
    unknown = [step.model for step in graph.wiring.steps if not signatures[step.model].batch_known]
    return invalid_wiring(
        f"{member.field}.maxBatchSize",
        f"{listed(dict.fromkeys(unknown))} leaves its batch size to the server, so that the ensemble's "
        "cannot be concluded: state it (0 for no batching)",
    )


def _state_inputs(
    member: Member, config: pb.ModelConfig, graph: Graph, stated: Mapping[str, Any]
) -> list[tuple[str, int]]:
    ends = {tensor: graph.consumers[tensor] for tensor in graph.unfed}
    base = [_message(pb.ModelInput, tensor, readers, config) for tensor, readers in ends.items()]
    for message in base:
        message.optional = all(reader.optional for reader in ends[message.name])
    field = f"{member.field}.config.input"
    for index, entry in enumerate(stated.get("input") or []):
        _require_tensor(entry, ends, f"{field}[{index}].name", "no step reads it as an input of the ensemble")
    config.input.extend(merge_tensors(base, stated.get("input") or [], field, make=pb.ModelInput))
    return _check_ends("input", config, ends, stated, field)


def _state_outputs(
    member: Member, config: pb.ModelConfig, graph: Graph, stated: Mapping[str, Any]
) -> list[tuple[str, int]]:
    """Unconsumed tensors are outputs; a stated list says itself which, consumed ones included."""
    entries: Sequence[Mapping[str, Any]] = stated.get("output") or []
    field = f"{member.field}.config.output"
    produced = {tensor: (end,) for tensor, end in graph.producers.items()}
    for index, entry in enumerate(entries):
        _require_tensor(entry, produced, f"{field}[{index}].name", "no step writes it")
    names = [str(entry["name"]) for entry in entries] or list(graph.unconsumed)
    for tensor in graph.unconsumed:
        if tensor not in names:
            end = produced[tensor][0]
            raise invalid_wiring(
                end.link.field,
                f"tensor {tensor}, output {end.link.name} of {end.step.label}, is read by no step and not in "
                "config.output, and the server refuses unused tensors: drop this mapping, or add the tensor "
                "there",
            )
    check_output_origins(graph, names)
    ends = {tensor: produced[tensor] for tensor in names}
    base = [_message(pb.ModelOutput, tensor, writers, config) for tensor, writers in ends.items()]
    config.output.extend(merge_tensors(base, entries, field, make=pb.ModelOutput))
    return _check_ends("output", config, ends, stated, field)


def _require_tensor(entry: Mapping[str, Any], known: Iterable[str], where: str, problem: str) -> None:
    name, names = str(entry.get("name") or ""), list(known)
    if name not in names:
        hint = nearest(name, names) or f"; there are {listed(names)}"
        raise invalid_wiring(where, f"tensor {name or '(without a name)'}: {problem}{hint}")


def _message(kind: Any, tensor: str, ends: Sequence[Endpoint], config: pb.ModelConfig) -> Any:
    message = kind(name=tensor, data_type=next((end.data_type for end in ends if end.data_type), 0))
    dims = ensemble_dims(ends, batching=config.max_batch_size > 0)
    if dims is None:
        readers = listed(
            f"{end.step.label} expects {end.written(full=True)} as {end.link.name}" for end in ends
        )
        raise invalid_wiring(
            ends[-1].link.field,
            f"tensor {tensor}: no shape suits all who read this input ({readers}, batch axis included) at "
            f"max_batch_size {config.max_batch_size}: feed them from several tensors",
        )
    message.dims.extend(dims)
    return message


def _check_ends(
    key: str,
    config: pb.ModelConfig,
    ends: Mapping[str, Sequence[Endpoint]],
    stated: Mapping[str, Any],
    field: str,
) -> list[tuple[str, int]]:
    """Holds stated types and shapes against the members'; returns the tensors that remain unknown."""
    positions = {entry["name"]: index for index, entry in enumerate(stated.get(key) or [])}
    unknown = []
    for message in getattr(config, key):
        if not message.data_type or not message.dims:
            unknown.append((f"{key} {message.name}", positions.get(message.name, -1)))
        if message.name not in positions:
            continue
        shape = message.reshape.shape if message.HasField("reshape") else message.dims
        for end in ends[message.name]:
            own = Endpoint(end.step, end.link, message.data_type, tuple(shape), config.max_batch_size > 0)
            if not own.fits(end):
                full = own.batching != end.batching
                raise invalid_config(
                    f"{field}[{positions[message.name]}]",
                    f"{key} {message.name} is stated as {own.written(full=full)}, but {end.step.label} has "
                    f"{end.written(full=full)} as {end.link.name}: correct it, or leave data_type and dims "
                    "out",
                )
    return unknown


def _unknown_tensor(member: Member, unknown: tuple[str, int]) -> FaultError:
    key, _, name = unknown[0].partition(" ")
    return invalid_wiring(
        f"{member.field}.config.{key}",
        f"{unknown[0]} of {member.name}: the model behind it leaves its tensors to the server, so that "
        "nothing tells "
        f'type and shape; state {key}: [{{name: "{name}", data_type: TYPE_..., dims: [...]}}]',
    )


def _state_labels(member: Member, config: pb.ModelConfig) -> None:
    outputs = {output.name: output for output in config.output}
    for index, (name, file) in enumerate(member.label_files.items()):
        if name not in outputs:
            raise invalid_config(
                f"{member.field}.labels[{index}].output",
                f"the ensemble has no output {name}: it has {listed(outputs)}{nearest(name, list(outputs))}",
            )
        outputs[name].label_filename = file


def _ragged_notes(member: Member, config: pb.ModelConfig) -> list[str]:
    return [
        f"{member.field}.config.input: allow_ragged_batch has no effect on an ensemble's input "
        f"({tensor.name}); state it on the model that reads the tensor"
        for tensor in config.input
        if tensor.allow_ragged_batch
    ]


def _misspelling_notes(member: Member, graph: Graph) -> list[str]:
    """An unfed tensor is an input by definition, so that a slip of the pen would pass in silence.

    What the first model of a chain reads is no slip: nobody wrote these names for the ensemble.
    """
    notes = []
    for tensor in graph.unfed:
        reader = graph.consumers[tensor][0]
        if reader.link.field == f"{member.field}.ensemble.chain[0]":
            continue
        if hint := nearest(tensor, graph.unconsumed):
            notes.append(
                f"{reader.link.field}: no step writes {tensor} {written(reader.data_type, reader.dims)}, "
                f"hence it is an input of {member.name}{hint}"
            )
    return notes
