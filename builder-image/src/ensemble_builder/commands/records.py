"""Records of built artifacts in storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import parse
from ensemble_builder.storage.store import Store
from ensembles_api.contract import ArtifactRecord, BuildOrder, Lock

WORKERS = 16


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
