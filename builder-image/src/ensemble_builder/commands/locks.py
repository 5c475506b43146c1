"""Locks in storage, and the builds that they order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import parse, sha256
from ensemble_builder.artifacts.proofs import on_each_gpu
from ensemble_builder.commands.log import step
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.store import Store
from ensembles_api.contract import BuildOrder, Fault, Lock
from ensembles_api.reasons import Reason


def load_lock(store: Store, digest: str) -> Lock:
    """The lock of this digest.

    Raises:
        FaultError: LockVanished where it is gone, StorageCorrupt where its bytes changed.
    """
    key = store.key(layout.lock(digest))
    data = store.root.get(key)
    if data is None:
        message = f"{store.root.access.uri(key)} is gone: look for lifecycle rules on the bucket"
        raise FaultError(Fault(code=Reason.LOCK_VANISHED, field="spec.storage.uri", message=message))
    lock = parse(Lock, data) if sha256(data) == digest else None
    if lock is None:
        message = f"{store.root.access.uri(key)} is not what was written there"
        raise FaultError(Fault(code=Reason.STORAGE_CORRUPT, field="spec.storage.uri", message=message))
    return lock


def write_lock(store: Store, lock: Lock) -> None:
    """Write a lock under its digest; writing it twice is harmless."""
    data = lock.canonical()
    with step(f"wrote lock {sha256(data)}"):
        store.root.put(store.key(layout.lock(sha256(data))), data)


@dataclass(frozen=True)
class OrderedBuild:
    """One build of a lock, and the folder in which it is done.

    proof_key: empty where the artifact need not be proven.
    """

    store: Store
    lock_digest: str
    key: str
    proof_key: str
    work: Path

    def look_up(self) -> tuple[Lock, BuildOrder]:
        """The lock, and the order in it.

        Raises:
            FaultError: as `load_lock`; JobFailed where the lock has no such order.
        """
        lock = load_lock(self.store, self.lock_digest)
        return lock, _find_order(lock, self.key, self.proof_key)


def _find_order(lock: Lock, key: str, proof_key: str) -> BuildOrder:
    """The order of this key, to be proven in this way; without its proof where `proof_key` is empty."""
    for order in lock.builds:
        if order.key != key:
            continue
        if not proof_key:
            return order.model_copy(update={"proof": None})
        for due in (order, *on_each_gpu(order, lock.request.targets)):
            if due.proof and due.proof.key == proof_key:
                return due
    message = f"lock {lock.digest()} orders no artifact {key}"
    raise FaultError(Fault(code=Reason.JOB_FAILED, message=message))
