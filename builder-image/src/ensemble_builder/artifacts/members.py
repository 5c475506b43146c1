"""From a lock and what is known of its artifacts to the members that modelconfig takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ensemble_builder.artifacts.documents import OnnxFacts
from ensemble_builder.artifacts.orders import order_of
from ensemble_builder.artifacts.placement import ModelFolder, place
from ensemble_builder.artifacts.repository import repository_models
from ensemble_builder.artifacts.sources import REPOSITORY, Version, by_field, model_versions
from ensemble_builder.modelconfig import Member, MemberVersion
from ensembles_api.contract import ArtifactRecord, Lock, ModelIO, ProofRecord, Tensor
from ensembles_api.spec import Model, Source, TensorRT


@dataclass(frozen=True)
class Knowledge:
    """What assembling has found out.

    Args:
        onnx: source field -> facts of its .onnx file.
        texts: digest -> text of each config.pbtxt among the sources.
        records: artifact key -> its record, for those that exist.
        proofs: path of a proof's record -> it.
    """

    onnx: Mapping[str, OnnxFacts] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    records: Mapping[str, ArtifactRecord] = field(default_factory=dict)
    proofs: Mapping[str, ProofRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class Placed:
    """A model with its folder."""

    member: Member
    folder: ModelFolder


def placed_models(lock: Lock, known: Knowledge, *, target: str) -> tuple[Placed, ...]:
    """All models of a target with their files.

    Artifacts that are not built yet have no tensors and no files: good enough to check the wiring, not to
    publish.

    Raises:
        FaultError: InvalidModel or InvalidSpec naming the source that does not fit.
    """
    locked = by_field(lock.sources)
    external = {at: facts.external_data for at, facts in known.onnx.items()}
    found = []
    for index, model in enumerate(lock.request.models):
        built = {
            order.field: known.records[order.key].files
            for order in lock.builds
            if order.target in {None, target} and order.key in known.records
        }
        folder = place(index, model, locked, external_data=external, built=built, texts=known.texts)
        member = Member(
            model=model,
            field=f"spec.models[{index}]",
            versions=tuple(
                MemberVersion(version.number, version.kind, _io(lock, known, version, target))
                for version in _file_versions(index, model, folder)
            ),
            given_config=_text(folder, known),
            label_files=folder.label_files,
            file_names=folder.version_files(),
        )
        found.append(Placed(member, folder))
    return (*found, *_hand_written(lock, known))


def _file_versions(index: int, model: Model, folder: ModelFolder) -> Iterator[Version]:
    """The versions of a model; those of a `files` folder are the numbers of its folders."""
    for version in model_versions(index, model):
        if version.kind != "files":
            yield version
            continue
        for number in folder.version_numbers():
            yield replace(version, number=number)


def _text(folder: ModelFolder, known: Knowledge) -> str | None:
    return known.texts.get(folder.given_config.sha256) if folder.given_config else None


def _record(lock: Lock, known: Knowledge, version: Version, target: str) -> ArtifactRecord | None:
    order = order_of(lock.builds, version, target)
    return known.records.get(order.key) if order else None


def _io(lock: Lock, known: Knowledge, version: Version, target: str) -> ModelIO | None:
    onnx = known.onnx.get(version.source_field)
    if version.kind == "onnxruntime":
        return onnx.io if onnx else None
    if record := _record(lock, known, version, target):
        return record.io
    if onnx is None or not isinstance(version.definition, TensorRT):
        return None
    return expected_engine(onnx.io, version.definition)


def expected_engine(io: ModelIO, tensorrt: TensorRT) -> ModelIO | None:
    """What an engine will look like, for checks before it is built.

    None where only the engine can tell: older parsers turn INT64 into INT32, all of them doubles into FP32,
    and with shape tensors what is a batch is not in the ONNX.
    """
    wide = any(tensor.data_type in {"TYPE_INT64", "TYPE_FP64"} for tensor in (*io.inputs, *io.outputs))
    if wide or any(profile.values for profile in tensorrt.profiles):
        return None
    types = {entry.name: f"TYPE_{entry.data_type.value.upper()}" for entry in tensorrt.io}

    def typed(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        return tuple(
            tensor.model_copy(update={"data_type": types.get(tensor.name, tensor.data_type)})
            for tensor in tensors
        )

    return io.model_copy(update={"inputs": typed(io.inputs), "outputs": typed(io.outputs)})


def _hand_written(lock: Lock, known: Knowledge) -> Iterator[Placed]:
    source = by_field(lock.sources).get(REPOSITORY)
    if not source or not lock.request.repository:
        return
    uri = lock.request.repository.uri.rstrip("/")
    taken = [model.name for model in lock.request.models]
    for name, folder in repository_models(source, taken=taken).items():
        text = _text(folder, known)
        numbers = () if text and "ensemble_scheduling" in text else folder.version_numbers()
        member = Member(
            model=Model(name=name, files=Source(uri=f"{uri}/{name}/")),
            field=f"{REPOSITORY}.uri",
            versions=tuple(MemberVersion(number, "files", None) for number in numbers),
            given_config=text,
            untouched=True,
            file_names=folder.version_files(),
        )
        yield Placed(member, folder)
