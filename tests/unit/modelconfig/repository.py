"""Short ways to say what a repository of models holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig import FaultError, GeneratedRepository, Member, MemberVersion, generate
from ensemble_builder.modelconfig.members import VersionKind
from ensembles_api.contract import Fault, ModelIO, Tensor
from ensembles_api.reasons import Reason
from ensembles_api.spec import Model

SOURCE = {"uri": "s3://models/src/file"}


def tensor(name: str, data_type: str, *shape: int, optional: bool = False) -> Tensor:
    return Tensor(name=name, data_type=f"TYPE_{data_type}", shape=shape, optional=optional)


def io(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, batchable: bool = True, **more: Any
) -> ModelIO:
    return ModelIO(batchable=batchable, inputs=tuple(inputs), outputs=tuple(outputs), **more)


@dataclass(frozen=True)
class Entry:
    """A model before it has its place in spec.models."""

    document: Mapping[str, Any]
    versions: tuple[MemberVersion, ...] = ()
    more: Mapping[str, Any] | None = None

    def at(self, index: int) -> Member:
        model = Model.model_validate(dict(self.document))
        return Member(model, f"spec.models[{index}]", self.versions, **(self.more or {}))


def model(
    kind: VersionKind,
    name: str,
    tensors: ModelIO | None = None,
    *,
    part: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
    **document: Any,
) -> Entry:
    """A model of one version. `part` goes into the kind's own object, `more` into the Member."""
    body = {"source": SOURCE, **(part or {})} if kind != "files" else SOURCE
    return Entry({"name": name, kind: body, **document}, (MemberVersion(1, kind, tensors),), more)


def python(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], **document: Any) -> Entry:
    """A Python model whose config states its tensors, as it must."""
    config = {"input": [_stated(t) for t in inputs], "output": [_stated(t) for t in outputs]}
    return model("python", name, config={**config, **document.pop("config", {})}, **document)


def _stated(item: Tensor) -> dict[str, Any]:
    optional = {"optional": True} if item.optional else {}
    return {"name": item.name, "data_type": item.data_type, "dims": list(item.shape), **optional}


def chain(name: str, *names: str, more: Mapping[str, Any] | None = None, **document: Any) -> Entry:
    return Entry({"name": name, "ensemble": {"chain": list(names)}, **document}, more=more)


def steps(
    name: str, *items: Mapping[str, Any], more: Mapping[str, Any] | None = None, **document: Any
) -> Entry:
    return Entry({"name": name, "ensemble": {"steps": list(items)}, **document}, more=more)


def step(
    called: str, inputs: Mapping[str, str], outputs: Mapping[str, str], version: int = -1
) -> dict[str, Any]:
    """A step; `inputs` maps the model's inputs to tensors, `outputs` its outputs to tensors."""
    return {
        "model": called,
        "version": version,
        "inputs": [{"name": name, "from": source} for name, source in inputs.items()],
        "outputs": [{"name": name, "to": target} for name, target in outputs.items()],
    }


def given(name: str, text: str, *, versions: tuple[int, ...] = (1,)) -> Entry:
    """A model of a hand-written repository."""
    numbered = tuple(MemberVersion(version, "files", None) for version in versions)
    return Entry({"name": name, "files": SOURCE}, numbered, {"given_config": text, "untouched": True})


def built(*entries: Entry, entrypoint: str | None = None, partial: bool = False) -> GeneratedRepository:
    members = [entry.at(index) for index, entry in enumerate(entries)]
    return generate(members, entrypoint=entrypoint, partial=partial)


def config_of(*entries: Entry) -> ModelConfig:
    """The config of the first."""
    repository = built(*entries)
    return repository.parsed[entries[0].document["name"]]


def fault_of(*entries: Entry, entrypoint: str | None = None, partial: bool = False) -> Fault:
    with pytest.raises(FaultError) as caught:
        built(*entries, entrypoint=entrypoint, partial=partial)
    return caught.value.fault


def refused(fault: Fault, field: str, *parts: str, code: Reason = Reason.INVALID_CONFIG) -> None:
    """The fault has this code and field, and its message holds these parts."""
    assert (fault.code, fault.field) == (code, field), fault
    missing = [part for part in parts if part not in fault.message]
    assert not missing, f"{missing} not in {fault.message!r}"


def miswired(fault: Fault, field: str, *parts: str) -> None:
    refused(fault, field, *parts, code=Reason.INVALID_WIRING)


IMAGE = tensor("input", "FP32", 3, 224, 224)
LOGITS = tensor("logits", "FP32", 1000)
CLASSIFIER = io([IMAGE], [LOGITS])
DECODER = io([tensor("DALI_INPUT_0", "UINT8", -1)], [tensor("DALI_OUTPUT_0", "FP32", 3, 224, 224)])


def classifier(name: str = "classifier", tensors: ModelIO = CLASSIFIER, **document: Any) -> Entry:
    return model("onnxruntime", name, tensors, **document)


def decoder(name: str = "preprocess", tensors: ModelIO | None = DECODER, **document: Any) -> Entry:
    return model("dali", name, tensors, **{"maxBatchSize": 64, **document})


TWO = (decoder(), classifier())
GOOD = (
    step("preprocess", {"DALI_INPUT_0": "INPUT"}, {"DALI_OUTPUT_0": "image"}),
    step("classifier", {"input": "image"}, {"logits": "OUTPUT"}),
)
"""Steps that join the two."""


def wired(*items: dict[str, Any], models: tuple[Entry, ...] = TWO, **document: Any) -> tuple[Entry, ...]:
    """These models, and an ensemble of these steps."""
    return (*models, steps("e", *items, **document))
