"""upload: what compile or an export's container built goes to storage, its record last."""

from __future__ import annotations

from pathlib import Path

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import parse
from ensemble_builder.commands import timing_caches
from ensemble_builder.commands.exported import read_export
from ensemble_builder.commands.locks import OrderedBuild
from ensemble_builder.commands.log import say, step
from ensemble_builder.commands.outputs import open_output, read_output
from ensemble_builder.commands.records import artifact_record
from ensemble_builder.compilers.work_folder import OUTPUTS, RECORD, RESULT
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.store import Store
from ensemble_builder.storage.upload import upload_file
from ensembles_api.contract import (
    ArtifactRecord,
    BuildOrder,
    CompileResult,
    Fault,
    LockedFile,
    ProofRecord,
    Result,
)
from ensembles_api.reasons import Reason

ALLOWED = {
    "dali": frozenset({"model.dali", "dali.py"}),
    "tensorrt": frozenset({"model.plan"}),
    "environment": frozenset({"environment.tar.gz"}),
}
"""Names of artifact files by kind: user code cannot smuggle further files into a model's folder."""


def run(build: OrderedBuild) -> Result:
    """Upload one build.

    Returns:
        Result with the lock; `fault` where the compiler found one.

    Raises:
        FaultError: CompileFailed where compile left nothing usable, ExportFailed or InvalidModel where an
        export did; else the storage's failure.
    """
    lock, order = build.look_up()
    out = build.work / OUTPUTS
    result = read_export(order, out) if order.kind == "export" else _compiled(order, out)
    try:
        if result.fault:
            return Result(lock=build.lock_digest, fault=result.fault)
        return _store(build.store, order, result, build.work).model_copy(update={"lock": build.lock_digest})
    finally:
        # Last: what was measured is worth keeping whatever became of the engine, and may wait for it. Only
        # TensorRT measures: what lies there under that name otherwise is user code's.
        if order.kind == "tensorrt":
            folder = timing_caches.folder_of(lock, order)
            timing_caches.keep(build.store, folder, out=out, merged=result.merged_caches)


def _store(store: Store, order: BuildOrder, result: CompileResult, work: Path) -> Result:
    with step(f"uploaded {order.kind} {order.model!r} {order.key}"):
        record = _write_artifact(store, order, result, work) if result.files else _proven(order, result, work)
        if order.proof is None:
            return Result()
        if result.proof is None or result.proof.verdict == "Failed":
            raise _failed(order, f"{RESULT} holds no proof")
        proof = ProofRecord(
            key=order.key, proof_key=order.proof.key, artifact=record.files[0].sha256, proof=result.proof
        )
        stored = artifact_record(store, order)
        if stored is None or stored.files[0].sha256 != proof.artifact:
            # Whoever asked for the build finds no proof of what is stored, and asks for one.
            say("other bytes are stored under this key: what these were proven to be is not kept")
            return Result()
        store.root.put(store.key(layout.proof(order.key, order.proof.key)), proof.canonical())
    say(result.proof.summary)
    return Result()


def _write_artifact(store: Store, order: BuildOrder, result: CompileResult, work: Path) -> ArtifactRecord:
    out = work / OUTPUTS
    if result.io is None:
        raise _failed(order, f"{RESULT} names no tensors")
    record = ArtifactRecord(
        kind=order.kind,
        key=order.key,
        files=tuple(_upload(store, out, path) for path in result.files),
        io=result.io,
        samples=result.samples,
        sample_files=tuple(_upload(store, out, path) for path in _sample_paths(result)),
        provenance=result.provenance,
    )
    _write_record(store, order, record)
    return record


def _proven(order: BuildOrder, result: CompileResult, work: Path) -> ArtifactRecord:
    """The artifact that was proven and not built, as fetch brought it: the record may name another by now."""
    found = parse(ArtifactRecord, read_output(work, RECORD)) if result.proof else None
    if found is None:
        raise _failed(order, f"{RESULT} names no files")
    return found


def _compiled(order: BuildOrder, out: Path) -> CompileResult:
    result = parse(CompileResult, read_output(out, RESULT))
    if result is None:
        raise _failed(order, f"{RESULT} is none of this contract")
    if not result.fault and not ALLOWED[order.kind].issuperset(result.files):
        raise _failed(order, f"{RESULT} names the files {list(result.files)}")
    return result


def _sample_paths(result: CompileResult) -> list[str]:
    return sorted({tensor.file for sample in result.samples for tensor in sample.inputs})


def _upload(store: Store, out: Path, path: str) -> LockedFile:
    with open_output(out, path) as file:
        digest = file.sha256()
        key = store.key(layout.blob(digest))
        # Written even where it exists: a blob that went bad in storage is mended by the next build.
        upload_file(store.root, key, descriptor=file.descriptor, size=file.size)
        return LockedFile(path=path, sha256=digest, size=file.size)


def _write_record(store: Store, order: BuildOrder, record: ArtifactRecord) -> None:
    """The first record of a key stays; one whose blobs are gone is replaced."""
    key = store.key(layout.artifact(record.kind, record.key))
    if store.root.put_if_absent(key, record.canonical()):
        return
    if artifact_record(store, order):
        say(f"artifact {record.kind}/{record.key} was there already")
        return
    store.root.put(key, record.canonical())


def _failed(order: BuildOrder, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.COMPILE_FAILED, field=order.field, message=message))
