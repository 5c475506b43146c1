"""upload: what compile or an export's container built goes to storage, its record last."""

from __future__ import annotations

from pathlib import Path

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import parse
from ensemble_builder.commands.exported import read_export
from ensemble_builder.commands.fetch import OUTPUTS
from ensemble_builder.commands.locks import find_order, load_lock
from ensemble_builder.commands.log import say, step
from ensemble_builder.commands.outputs import open_output, read_output
from ensemble_builder.commands.records import artifact_record
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.store import Store
from ensemble_builder.storage.upload import upload_file
from ensembles_api.contract import ArtifactRecord, BuildOrder, CompileResult, Fault, LockedFile, Result
from ensembles_api.reasons import Reason

RESULT = "result.json"
ALLOWED = {"dali": frozenset({"model.dali", "dali.py"}), "tensorrt": frozenset({"model.plan"})}
"""Names of artifact files by kind: user code cannot smuggle further files into a model's folder."""


def run(*, store: Store, lock_digest: str, key: str, work: Path) -> Result:
    """Upload one build.

    Returns:
        Result with the lock; `fault` where the compiler found one.

    Raises:
        FaultError: CompileFailed where compile left nothing usable, ExportFailed or InvalidModel where an
        export did; else the storage's failure.
    """
    order = find_order(load_lock(store, lock_digest), key)
    out = work / OUTPUTS
    result = read_export(order, out) if order.kind == "export" else _compiled(order, out)
    if result.fault:
        return Result(lock=lock_digest, fault=result.fault)
    if result.io is None:
        raise _failed(order, f"{RESULT} names no tensors")
    with step(f"uploaded {order.kind} {order.model!r} {key}"):
        record = ArtifactRecord(
            kind=order.kind,
            key=key,
            files=tuple(_upload(store, out, path) for path in result.files),
            io=result.io,
            samples=result.samples,
            sample_files=tuple(_upload(store, out, path) for path in _sample_paths(result)),
            provenance=result.provenance,
        )
        _write_record(store, record)
    return Result(lock=lock_digest)


def _compiled(order: BuildOrder, out: Path) -> CompileResult:
    result = parse(CompileResult, read_output(out, RESULT))
    if result is None:
        raise _failed(order, f"{RESULT} is none of this contract")
    if not result.fault and (not result.files or not ALLOWED[order.kind].issuperset(result.files)):
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


def _write_record(store: Store, record: ArtifactRecord) -> None:
    """The first record of a key stays; one whose blobs are gone is replaced."""
    key = store.key(layout.artifact(record.kind, record.key))
    if store.root.put_if_absent(key, record.canonical()):
        return
    if artifact_record(store, record.kind, record.key):
        say(f"artifact {record.kind}/{record.key} was there already")
        return
    store.root.put(key, record.canonical())


def _failed(order: BuildOrder, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.COMPILE_FAILED, field=order.field, message=message))
