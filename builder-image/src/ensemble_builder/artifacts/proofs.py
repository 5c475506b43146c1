"""Orders of proofs. The key of one covers everything that can change its outcome but the artifact itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from ensemble_builder.artifacts.gpu_products import asked_product, chip, unshared_resource
from ensemble_builder.artifacts.sources import Locked, Version
from ensembles_api.contract import (
    ArtifactRecord,
    BuildOrder,
    LockedFile,
    OrderedProof,
    TargetRequest,
)
from ensembles_api.spec import EngineVerification, Gpu, NamedSource, PipelineVerification

PROOF_REVISION = 2
"""Raised when the same settings would be judged otherwise; engines are then proven again, not built again."""
PIPELINE_PROOF_REVISION = 1
"""As PROOF_REVISION, for pipelines."""


def engine_proof(version: Version, verification: EngineVerification | None, locked: Locked) -> OrderedProof:
    """The proof of a tensorrt model version's engines."""
    stated = verification or EngineVerification()
    inputs: list[LockedFile] = []
    samples = []
    for index, sample in enumerate(stated.samples):
        entries: dict[str, list[dict[str, str]]] = {}
        for side, values in (("inputs", sample.inputs), ("outputs", sample.outputs)):
            files = list(_files(version, f"samples[{index}].{side}", values, locked))
            inputs += files
            entries[side] = [
                {"name": value.name, "file": file.path} for value, file in zip(values, files, strict=True)
            ]
        samples.append(entries)
    settings: dict[str, Any] = stated.model_dump(mode="json", exclude_defaults=True, exclude={"samples"})
    settings |= {"revision": PROOF_REVISION, **({"samples": samples} if samples else {})}
    return _ordered(settings, inputs)


def pipeline_proof(version: Version, stated: PipelineVerification, locked: Locked) -> OrderedProof:
    """The proof of a dali model version. Without samples of its own it runs those of the pipeline, which are
    among the build's inputs.
    """
    inputs: list[LockedFile] = []
    samples = []
    for index, sample in enumerate(stated.samples):
        files = list(_files(version, f"samples[{index}].inputs", sample.inputs, locked))
        inputs += files
        named = zip(sample.inputs, files, strict=True)
        samples.append({"inputs": [{"name": value.name, "file": file.path} for value, file in named]})
    return _ordered(
        {"revision": PIPELINE_PROOF_REVISION, **({"samples": samples} if samples else {})}, inputs
    )


def due_orders(
    order: BuildOrder, record: ArtifactRecord | None, targets: Sequence[TargetRequest]
) -> tuple[BuildOrder, ...]:
    """How an order is to be proven: as it stands, or once on each type of GPU.

    Args:
        order: of an artifact.
        record: what was built; None where that is still to come.
        targets: that will serve it.
    """
    if record is None or order.kind != "dali" or not record.provenance.get("gpu_operators"):
        return (order,)
    return on_each_gpu(order, targets)


def on_each_gpu(order: BuildOrder, targets: Sequence[TargetRequest]) -> tuple[BuildOrder, ...]:
    """A pipeline's order, with a proof of its own for each type of GPU that will serve it: memory and
    hardware decoders differ. An order for one target is of one type already; where no target names one, any
    GPU will do.
    """
    if order.proof is None or order.target is not None:
        return (order,)
    kinds: dict[tuple[str, str], TargetRequest] = {}
    for target in targets:
        if target.gpu:
            kinds.setdefault(_kind(target.gpu), target)
    if kinds.keys() <= {_kind(Gpu())}:
        return (order,)
    return tuple(
        order.model_copy(
            update={
                "target": target.name,
                "gpu_product": asked_product(target.gpu),
                "proof": _on(order.proof, product, resource),
            }
        )
        for (product, resource), target in kinds.items()
    )


def _kind(gpu: Gpu) -> tuple[str, str]:
    """Product, without the -SHARED of time slicing, and resource: that of a MIG slice names its size."""
    return chip(gpu), unshared_resource(gpu)


def _on(proof: OrderedProof, product: str, resource: str) -> OrderedProof:
    text = json.dumps({"proof": proof.key, "gpu": [product, resource]}, separators=(",", ":"))
    return proof.model_copy(update={"key": hashlib.sha256(text.encode()).hexdigest()})


def _ordered(settings: dict[str, Any], inputs: list[LockedFile]) -> OrderedProof:
    subject = {"settings": settings, "inputs": sorted([file.path, file.sha256] for file in inputs)}
    text = json.dumps(subject, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return OrderedProof(
        key=hashlib.sha256(text.encode()).hexdigest(), settings=settings, inputs=tuple(inputs)
    )


def _files(version: Version, place: str, values: list[NamedSource], locked: Locked) -> Iterator[LockedFile]:
    """The samples' files under names of their own below in/."""
    for index, _ in enumerate(values):
        given = locked[f"{version.field}.verification.{place}[{index}].source"].files[0]
        folder = place.replace("[", "/").replace("].", "/")
        path = f"verification/{folder}/{index}{PurePosixPath(given.path).suffix}"
        yield given.model_copy(update={"path": path})
