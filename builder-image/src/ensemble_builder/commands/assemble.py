"""assemble: pins the sources, orders builds, and publishes the revision once nothing is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ensemble_builder.artifacts.cases import Read
from ensemble_builder.artifacts.documents import OnnxFacts
from ensemble_builder.artifacts.exports import engines_to_come, exported_sources, unpinned_images
from ensemble_builder.artifacts.members import Knowledge, placed_models
from ensemble_builder.artifacts.orders import Revisions, orders
from ensemble_builder.artifacts.sources import by_field, versions
from ensemble_builder.commands.cases import cases_of, reader
from ensemble_builder.commands.knowledge import config_texts, onnx_facts
from ensemble_builder.commands.locks import load_lock, write_lock
from ensemble_builder.commands.log import say
from ensemble_builder.commands.pinning import pin
from ensemble_builder.commands.publish import plan_revision, publish
from ensemble_builder.commands.records import artifact_records, missing, proof_records, proven_orders
from ensemble_builder.compilers.parameters import (
    DALI_REVISION,
    ENVIRONMENT_REVISION,
    EXPORT_REVISION,
    TENSORRT_REVISION,
)
from ensemble_builder.compilers.tensorrt.stated import check_stated
from ensemble_builder.faults import FaultError
from ensemble_builder.modelconfig import generate
from ensemble_builder.storage.store import Store
from ensembles_api.contract import (
    ArtifactRecord,
    BuildOrder,
    Fault,
    FoundArtifact,
    Lock,
    NextBuild,
    Request,
    Result,
)
from ensembles_api.reasons import Reason
from ensembles_api.spec import TensorRT

REVISIONS: Revisions = {
    "dali": DALI_REVISION,
    "tensorrt": TENSORRT_REVISION,
    "export": EXPORT_REVISION,
    "environment": ENVIRONMENT_REVISION,
}


def run(
    *, request: Request, config_maps: Path, store: Store, lock_digest: str = "", built: Collection[str] = ()
) -> Result:
    """One round of assembling.

    Args:
        request: what the resource asks for; with `lock_digest`, the lock's own request counts.
        config_maps: folder with <name>/<key> files of the ConfigMaps that sources name.
        store: storage.
        lock_digest: the lock of an earlier round: nothing is pinned again.
        built: artifact keys that this chain has built.

    Returns:
        Result with `lock` and either `next` (builds to start) or `revision` and `server`. The lock is another
        one than `lock_digest` once an export is built: what it wrote is locked, and what is made of that
        ordered.

    Raises:
        FaultError: the user's or the storage's failure.
    """
    if lock_digest:
        first = load_lock(store, lock_digest)
    else:
        sources = pin(request, store=store, config_maps=config_maps)
        first = Lock(request=request, sources=sources, builds=())
    lock, known = _ordered(store, first)
    lacking = missing(lock, known.records, known.proofs)
    read = reader(store, lock.sources)
    if lacking:
        _check_early(lock, known, read)
    if lock.digest() != lock_digest:
        write_lock(store, lock)
    _check_vanished((order for order in lacking if order.key not in known.records), built)
    if lacking:
        return _ask_for(lock, lacking, known)
    planned = plan_revision(lock, known, read)
    publish(store, lock, planned.revision, known.records)
    return Result(
        lock=lock.digest(),
        revision=planned.revision.digest,
        cached=len(known.records),
        found=_found(lock, known),
        saved_gpu_seconds=_gpu_seconds(lock, known),
        server=planned.revision.manifest.server,
        warnings=(*unpinned_images(lock.request), *planned.warnings),
    )


def _ordered(store: Store, lock: Lock) -> tuple[Lock, Knowledge]:
    """The lock with all that can be ordered by now, and what is known of its sources and artifacts."""
    onnx = onnx_facts(store, lock.request, lock.sources)
    lock = _with_orders(lock, onnx)
    records = artifact_records(store, lock.builds)
    exported = exported_sources(lock.builds, records, by_field(lock.sources))
    if exported:
        lock = lock.model_copy(update={"sources": (*lock.sources, *exported)})
        onnx = onnx_facts(store, lock.request, lock.sources)
        lock = _with_orders(lock, onnx)
        records = artifact_records(store, lock.builds)
    proofs = proof_records(store, proven_orders(lock, records), records)
    texts = config_texts(store, lock.sources)
    return lock, Knowledge(onnx=onnx, texts=texts, records=records, proofs=proofs)


def _with_orders(lock: Lock, onnx: Mapping[str, OnnxFacts]) -> Lock:
    """What was ordered stays, even where a newer tools image would order otherwise."""
    external = {at: facts.external_data for at, facts in onnx.items()}
    found = orders(lock.request, by_field(lock.sources), external_data=external, revisions=REVISIONS)
    there = {(order.field, order.target) for order in lock.builds}
    new = (order for order in found if (order.field, order.target) not in there)
    return lock.model_copy(update={"builds": (*lock.builds, *new)})


def _check_early(lock: Lock, known: Knowledge, read: Read) -> None:
    """Refuse wirings, cases and settings of engines that cannot work before anything is built for them."""
    for version in versions(lock.request):
        engine, onnx = version.definition, known.onnx.get(version.source_field)
        if isinstance(engine, TensorRT) and onnx:
            check_stated(
                engine,
                onnx.io,
                max_batch_size=version.model.max_batch_size,
                field=version.field,
                model_field=f"spec.models[{version.index}]",
                source_field=version.source_field,
            )
    for target in lock.request.targets:
        models = placed_models(lock, known, target=target.name)
        members = [placed.member for placed in models]
        generated = generate(members, entrypoint=lock.request.entrypoint, partial=True)
        cases_of(lock, models, generated, read, partial=True)


def _check_vanished(lacking: Iterable[BuildOrder], built: Collection[str]) -> None:
    for order in lacking:
        if order.key in built:
            message = (
                f"artifact {order.kind}/{order.key} of model {order.model!r} was built and is gone: look for "
                "lifecycle rules on the bucket"
            )
            raise FaultError(Fault(code=Reason.ARTIFACT_VANISHED, field=order.field, message=message))


def _found(lock: Lock, known: Knowledge) -> tuple[FoundArtifact, ...]:
    """What is in storage, the longest builds first: they are what a reader looks for."""
    found = {
        order.key: FoundArtifact(
            key=order.key[:12], model=order.model, seconds=_seconds(known.records[order.key])
        )
        for order in lock.builds
        if order.key in known.records
    }
    return tuple(sorted(found.values(), key=lambda artifact: -artifact.seconds))


def _gpu_seconds(lock: Lock, known: Knowledge) -> float:
    keys = {order.key for order in lock.builds if order.gpu and order.key in known.records}
    return round(sum(_seconds(known.records[key]) for key in keys), 1)


def _seconds(record: ArtifactRecord) -> float:
    """How long building took, where the record says so."""
    seconds = record.provenance.get("seconds")
    return round(float(seconds), 1) if isinstance(seconds, int | float) else 0.0


def _ask_for(lock: Lock, lacking: Collection[BuildOrder], known: Knowledge) -> Result:
    """Engines last: one is built only when the wiring around it is known to fit. With them the proofs of
    pipelines: what a pipeline was compiled to says whether it needs a GPU.
    """
    later = [order for order in lacking if order.kind == "tensorrt" or order.key in known.records]
    now = [order for order in lacking if order not in later] or later
    asked = [(order, _next_build(order, known)) for order in now]
    builds = {(build.key, build.proof): build for _, build in asked}
    for build in builds.values():
        on = f" on {build.target}" if build.target else ""
        what = "to prove" if build.key in known.records else "to build"
        say(f"{what}: {build.kind} {build.model!r} {build.key}{on}")
    to_prove = sum(order.proof is not None and not build.proof for order, build in asked)
    return Result(
        lock=lock.digest(),
        cached=len(known.records),
        found=_found(lock, known),
        saved_gpu_seconds=_gpu_seconds(lock, known),
        next=tuple(builds.values()),
        more=len(lacking) - len(now) + to_prove + engines_to_come(lock.request, by_field(lock.sources)),
    )


def _next_build(order: BuildOrder, known: Knowledge) -> NextBuild:
    """An engine is built and proven at once, where it will run; a pipeline is compiled anywhere, and proven
    once it is known whether it has GPU operators.
    """
    record = known.records.get(order.key)
    proof = order.proof if order.kind == "tensorrt" or record else None
    on_gpu = proof is not None and record is not None and bool(record.provenance.get("gpu_operators"))
    return NextBuild(
        kind=order.kind,
        key=order.key,
        proof=proof.key if proof else "",
        model=order.model,
        field=order.field if order.kind == "export" else "",
        target=order.target,
        gpu=order.gpu or on_gpu,
    )
