"""fetch: brings a build's inputs, or a published revision, to local disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import parse, sha256
from ensemble_builder.commands import timing_caches
from ensemble_builder.commands.locks import OrderedBuild
from ensemble_builder.commands.log import say, step
from ensemble_builder.commands.origins import download_of, fields_of
from ensemble_builder.commands.records import artifact_record
from ensemble_builder.compilers.work_folder import BUILT, INPUTS, ORDER, OUTPUTS, RECORD, TIMING_CACHES
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.download import Download, download
from ensemble_builder.storage.store import Store
from ensembles_api.contract import Fault, Manifest, Result
from ensembles_api.reasons import Reason

SCRATCH = ".fetch"
FOLDERS = {
    "": (layout.MODELS, layout.PLUGINS, layout.VERIFICATION),
    "models": (layout.MODELS, layout.PLUGINS),
    "verification": (layout.VERIFICATION,),
}
"""What `--only` stands for."""
PUBLISH_AGAIN = "annotate the resource with ensembles.dev/requestedAt to publish the revision again"


def fetch_build(build: OrderedBuild) -> Result:
    """Its inputs to <work>/in, its order to <work>/order.json, and an empty <work>/out.

    An artifact that is there already and only has to be proven comes to <work>/built, its record to
    <work>/record.json. Timing caches come to <work>/timing-caches.

    Raises:
        FaultError: as `OrderedBuild.look_up` and `download`.
    """
    store, work = build.store, build.work
    lock, order = build.look_up()
    fields = fields_of(lock.sources)
    inputs = (*order.inputs, *(order.proof.inputs if order.proof else ()))
    items = [download_of(store, file, work / INPUTS / file.path, fields) for file in inputs]
    for folder in (INPUTS, OUTPUTS):
        (work / folder).mkdir(parents=True, exist_ok=True)
    record = artifact_record(store, order) if order.proof else None
    if record:
        say(f"{order.kind} {order.model!r} is built already: it will be proven")
        items += [download_of(store, file, work / BUILT / file.path, fields) for file in record.files]
        (work / RECORD).write_bytes(record.canonical())
    elif order.kind == "tensorrt":
        timing_caches.fetch(store, timing_caches.folder_of(lock, order), to=work / TIMING_CACHES)
    with step(f"fetched {len(items)} inputs of {order.kind} {order.model!r}"):
        download(items, scratch=work / SCRATCH)
    (work / ORDER).write_bytes(order.canonical())
    return Result(lock=build.lock_digest)


def fetch_revision(
    *, store: Store, namespace: str, name: str, digest: str, target: str, to: Path, only: str = ""
) -> Result:
    """A target's files of a revision to <to>/models, <to>/plugins and <to>/verification.

    Args:
        store: storage.
        namespace: of the ensemble.
        name: of the ensemble.
        digest: the revision; the manifest's own sha256, checked before anything in it is believed.
        target: serving target.
        to: folder; what is there already with the right bytes is kept.
        only: "models" for what a server loads, plugins included, or "verification".

    Raises:
        FaultError: StorageCorrupt where bytes are not those of the manifest; ArtifactVanished without a
        manifest.
    """
    manifest = load_manifest(store, namespace, name, digest)
    if target not in manifest.targets:
        message = f"revision {digest} has no target {target!r}: it has {', '.join(manifest.targets)}"
        raise FaultError(Fault(code=Reason.JOB_FAILED, message=message))
    base = store.key(f"{layout.revision(namespace, name, digest)}{target}/")
    folders = FOLDERS[only]
    items = [
        Download(store.root, f"{base}{path}", to / path, entry.sha256, entry.size, entry.mode)
        for path, entry in manifest.targets[target].files.items()
        if layout.is_safe(path) and path.split("/", 1)[0] in folders
    ]
    for folder in folders:
        (to / folder).mkdir(parents=True, exist_ok=True)
    size = sum(item.size for item in items)
    with step(f"fetched {len(items)} files, {size / 1e6:.1f} MB, of revision {digest[:12]} for {target}"):
        _download(items, scratch=to / SCRATCH)
    return Result(revision=digest)


def _download(items: Sequence[Download], *, scratch: Path) -> None:
    """As `download`; what is wrong with a published file is no source's fault, and has a cure of its own."""
    try:
        download(items, scratch=scratch)
    except FaultError as error:
        fault = error.fault
        if fault.code is Reason.SOURCE_MISSING:
            message = f"{fault.message}: the storage lost it; {PUBLISH_AGAIN}"
            raise FaultError(
                Fault(code=Reason.ARTIFACT_VANISHED, field=fault.field, message=message)
            ) from error
        if fault.code is Reason.STORAGE_CORRUPT:
            message = f"{fault.message}; if this stays, delete the object and {PUBLISH_AGAIN}"
            raise FaultError(fault.model_copy(update={"message": message})) from error
        raise


def load_manifest(store: Store, namespace: str, name: str, digest: str) -> Manifest:
    key = store.key(layout.manifest(namespace, name, digest))
    data = store.root.get(key)
    at = store.root.access.uri(key)
    if data is None:
        message = f"{at} does not exist: the revision was pruned or the storage lost it; {PUBLISH_AGAIN}"
        raise FaultError(Fault(code=Reason.ARTIFACT_VANISHED, field="spec.storage.uri", message=message))
    found = sha256(data)
    manifest = parse(Manifest, data) if found == digest else None
    if manifest is None:
        message = f"{at} has sha256 {found} instead of {digest}; {PUBLISH_AGAIN}"
        raise FaultError(Fault(code=Reason.STORAGE_CORRUPT, field="spec.storage.uri", message=message))
    return manifest
