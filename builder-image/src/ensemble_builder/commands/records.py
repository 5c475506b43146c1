"""Records of built artifacts in storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import parse
from ensemble_builder.artifacts.gpu_products import is_asked_for
from ensemble_builder.artifacts.proofs import due_orders
from ensemble_builder.storage.store import Store
from ensembles_api.contract import ArtifactRecord, BuildOrder, Lock, ProofRecord

WORKERS = 16


def artifact_records(store: Store, orders: Iterable[BuildOrder]) -> dict[str, ArtifactRecord]:
    """Key -> record, for those orders whose record and blobs exist."""
    distinct = {order.key: order for order in orders}
    store.root  # noqa: B018 - made before threads need it
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda order: artifact_record(store, order), distinct.values())
        return {key: record for key, record in zip(distinct, found, strict=True) if record}


def artifact_record(store: Store, order: BuildOrder) -> ArtifactRecord | None:
    """A record whose blobs exist, None where the artifact has to be built.

    A record that was put there by hand, for an engine of another TensorRT or GPU than the key stands for, is
    none: no server could load the engine.
    """
    data = store.root.get(store.key(layout.artifact(order.kind, order.key)))
    record = parse(ArtifactRecord, data) if data else None
    if record is None or record.key != order.key or not is_built_for(record.provenance, order):
        return None
    for file in (*record.files, *record.sample_files):
        info = store.root.head(store.key(layout.blob(file.sha256)))
        if info is None or info.size != file.size:
            return None
    return record


def is_built_for(provenance: Mapping[str, Any], order: BuildOrder) -> bool:
    """Whether an engine was built by its order's TensorRT, where that is known, and on its GPU, if on any.

    TensorRT-RTX builds without one; every other engine's record says both.
    """
    wanted = str(order.parameters.get("tensorrt_version") or "").split(".")
    found = str(provenance.get("tensorrt") or "").split(".")
    if wanted != [""] and found[: len(wanted)] != wanted:
        return False
    gpu = provenance.get("gpu")
    on = str(gpu.get("product") or "") if isinstance(gpu, dict) else ""
    return not on or is_asked_for(on, order.gpu_product)


def proven_orders(lock: Lock, records: Mapping[str, ArtifactRecord]) -> tuple[BuildOrder, ...]:
    """The lock's orders, each as often as its artifact is to be proven."""
    return tuple(
        due
        for order in lock.builds
        for due in due_orders(order, records.get(order.key), lock.request.targets)
    )


def proof_records(
    store: Store, orders: Iterable[BuildOrder], records: Mapping[str, ArtifactRecord]
) -> dict[str, ProofRecord]:
    """`proof_name` of an order -> its proof, for those artifacts that are there and proven as ordered."""
    distinct = {proof_name(order): order for order in orders if order.proof and order.key in records}
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda order: _proof_record(store, order, records[order.key]), distinct.values())
        return {name: proof for name, proof in zip(distinct, found, strict=True) if proof}


def proof_name(order: BuildOrder) -> str:
    return layout.proof(order.key, order.proof.key) if order.proof else ""


def _proof_record(store: Store, order: BuildOrder, record: ArtifactRecord) -> ProofRecord | None:
    """None where it is of other bytes than the artifact has now: two builds may have run at once."""
    data = store.root.get(store.key(proof_name(order)))
    found = parse(ProofRecord, data) if data else None
    return found if found and found.artifact == record.files[0].sha256 else None


def missing(
    lock: Lock, records: Mapping[str, ArtifactRecord], proofs: Mapping[str, ProofRecord]
) -> tuple[BuildOrder, ...]:
    """Orders without an artifact, or without its proof: one for each key and proof, the first target's where
    several share one.
    """
    lacking: dict[tuple[str, str], BuildOrder] = {}
    for order in proven_orders(lock, records):
        if order.key not in records or (order.proof and proof_name(order) not in proofs):
            lacking.setdefault((order.key, proof_name(order)), order)
    return tuple(lacking.values())
