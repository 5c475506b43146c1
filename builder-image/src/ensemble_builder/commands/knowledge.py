"""Gathers what assembling has to know beyond the lock: ONNX graphs, config texts, artifact records."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import OnnxFacts, parse
from ensemble_builder.artifacts.placement import given_configs, onnx_main
from ensemble_builder.artifacts.sources import by_field, versions
from ensemble_builder.commands.log import step
from ensemble_builder.commands.origins import Fields, download_of, fields_of
from ensemble_builder.compilers.onnx_graph import inspect
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.download import Download, download
from ensemble_builder.storage.store import Store
from ensembles_api.contract import ArtifactRecord, BuildOrder, Fault, Lock, LockedFile, LockedSource, Request
from ensembles_api.reasons import Reason

WORKERS = 16
ONNX_REVISION = 1
"""Raised when inspecting finds something else in the same file."""


def onnx_facts(store: Store, request: Request, sources: tuple[LockedSource, ...]) -> dict[str, OnnxFacts]:
    """Source field -> facts of its .onnx file, for every model that comes as one; remembered by digest."""
    locked = by_field(sources)
    fields = fields_of(sources)
    found = {}
    for version in versions(request):
        if version.kind in {"onnxruntime", "tensorrt"}:
            at = version.source_field
            found[at] = _facts(store, onnx_main(version, locked[at]), at, fields)
    return found


def _facts(store: Store, file: LockedFile, field: str, fields: Fields) -> OnnxFacts:
    key = store.key(layout.onnx_facts(file.sha256, ONNX_REVISION))
    if (data := store.root.get(key)) and (known := parse(OnnxFacts, data)):
        return known
    with step(f"inspected {field}"), tempfile.TemporaryDirectory() as folder:
        target = Path(folder, file.path.rpartition("/")[2])
        download([download_of(store, file, target, fields)], scratch=Path(folder, "scratch"))
        graph = inspect(target, field=field)
    facts = OnnxFacts(io=graph.io, external_data=graph.external_data)
    store.root.put(key, facts.canonical())
    return facts


def config_texts(store: Store, sources: tuple[LockedSource, ...]) -> dict[str, str]:
    """Digest -> text of every config.pbtxt among the sources.

    Raises:
        FaultError: InvalidConfig where one is not UTF-8.
    """
    fields = fields_of(sources)
    files = {file.sha256: file for file in given_configs(sources)}
    with tempfile.TemporaryDirectory() as folder:
        items = {
            digest: download_of(store, file, Path(folder, digest), fields) for digest, file in files.items()
        }
        download(list(items.values()), scratch=Path(folder, "scratch"))
        return {digest: _text(item) for digest, item in items.items()}


def _text(item: Download) -> str:
    try:
        return item.target.read_text()
    except UnicodeDecodeError:
        message = f"{item.bucket.access.uri(item.key)} is no text: Triton reads protobuf text there"
        fault = Fault(code=Reason.INVALID_CONFIG, field=item.bucket.access.uri_field, message=message)
        raise FaultError(fault) from None


def artifact_records(store: Store, orders: Iterable[BuildOrder]) -> dict[str, ArtifactRecord]:
    """Key -> record, for those orders whose record and blobs exist."""
    distinct = {order.key: order for order in orders}
    store.root  # noqa: B018 - made before threads need it
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda order: artifact_record(store, order.kind, order.key), distinct.values())
        return {key: record for key, record in zip(distinct, found, strict=True) if record}


def artifact_record(store: Store, kind: str, key: str) -> ArtifactRecord | None:
    """A record whose blobs exist, None where the artifact has to be built."""
    data = store.root.get(store.key(layout.artifact(kind, key)))
    record = parse(ArtifactRecord, data) if data else None
    if record is None or record.key != key:
        return None
    for file in (*record.files, *record.sample_files):
        info = store.root.head(store.key(layout.blob(file.sha256)))
        if info is None or info.size != file.size:
            return None
    return record


def missing(lock: Lock, records: Mapping[str, ArtifactRecord]) -> tuple[BuildOrder, ...]:
    """Orders without an artifact, one for each key: the first target's where several share one."""
    lacking: dict[str, BuildOrder] = {}
    for order in lock.builds:
        if order.key not in records:
            lacking.setdefault(order.key, order)
    return tuple(lacking.values())
