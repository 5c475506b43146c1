"""Publishes a revision: every file copied, the manifest last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.cases import Read
from ensemble_builder.artifacts.documents import Owner, Provenance, sha256
from ensemble_builder.artifacts.manifest import Revision, engine_args, make_revision, merged, model_files
from ensemble_builder.artifacts.members import Knowledge, placed_models
from ensemble_builder.artifacts.plugins import by_backend, published_plugins
from ensemble_builder.artifacts.sources import by_field
from ensemble_builder.artifacts.verification import verification
from ensemble_builder.commands.cases import cases_of
from ensemble_builder.commands.log import say, step
from ensemble_builder.commands.origins import Fields, fields_of, origin
from ensemble_builder.commands.records import proven_orders
from ensemble_builder.modelconfig import generate
from ensemble_builder.storage.copying import copy
from ensemble_builder.storage.store import Store
from ensembles_api.contract import ArtifactRecord, Lock, LockedFile

WORKERS = 16


@dataclass(frozen=True)
class Planned:
    """A revision not yet written, and what was noticed while planning it."""

    revision: Revision
    warnings: tuple[str, ...]


def plan_revision(lock: Lock, known: Knowledge, read: Read) -> Planned:
    """All files of all targets. Every artifact of the lock must be known.

    Args:
        lock: what was ordered.
        known: what came of it.
        read: reads the files of the user's cases.

    Raises:
        FaultError: InvalidConfig, InvalidWiring, InvalidModel, or InvalidSpec of a case.
    """
    targets = {}
    requirements = {}
    warnings: dict[str, None] = {}
    plugins = published_plugins(lock.request, by_field(lock.sources))
    for target in lock.request.targets:
        models = placed_models(lock, known, target=target.name)
        generated = generate([placed.member for placed in models], entrypoint=lock.request.entrypoint)
        orders = [order for order in lock.builds if order.target in {None, target.name}]
        records = {order.key: known.records[order.key] for order in orders}
        cases, case_files = cases_of(lock, models, generated, read)
        checks = verification(lock, records, generated.parsed, cases, case_files)
        targets[target.name] = {
            **model_files(models, generated.configs),
            **{plugin.file.path: plugin.file for plugin in plugins},
            **checks.target_files(),
        }
        on_gpu = any(record.provenance.get("gpu_operators") for record in records.values())
        requirements[target.name] = generated.server.model_copy(
            update={
                "gpu": generated.server.gpu or on_gpu,
                "args": (*generated.server.args, *engine_args(orders)),
                "plugins": by_backend(plugins),
            }
        )
        warnings.update(dict.fromkeys(generated.warnings))
    warnings.update(dict.fromkeys(_unproven(lock, known)))
    return Planned(make_revision(lock, targets, merged(requirements)), tuple(warnings))


def _unproven(lock: Lock, known: Knowledge) -> Iterator[str]:
    """What proofs have left open: shown with the revision, as it serves all the same."""
    for order in proven_orders(lock, known.records):
        if order.proof:
            found = known.proofs[layout.proof(order.key, order.proof.key)].proof
            yield from (f"{order.field}: {note}" for note in found.notes)


def publish(store: Store, lock: Lock, revision: Revision, records: Mapping[str, ArtifactRecord]) -> None:
    """Write a revision; of one that is there already, only what storage has lost since.

    May be killed at any point and run again, or run by several at once: every object has the same bytes
    whoever writes it, and a revision exists only when its manifest does.
    """
    request = lock.request
    root = store.root
    manifest = revision.manifest.canonical()
    digest = sha256(manifest)
    owner = Owner(namespace=request.namespace, name=request.name, uid=request.uid)
    root.put(store.key(layout.owner(request.namespace, request.name)), owner.canonical())
    manifest_key = store.key(layout.manifest(request.namespace, request.name, digest))
    base = store.key(layout.revision(request.namespace, request.name, digest))
    published = root.get(manifest_key) == manifest
    there = {info.key: info.size for info in root.list(base)} if published else {}
    jobs = [
        (key, file)
        for target, files in revision.targets.items()
        for path, file in files.items()
        if there.get(key := f"{base}{target}/{path}") != _size(file)
    ]
    if published and not jobs:
        say(f"revision {digest} is there already")
        return
    fields = fields_of(lock.sources)
    with step(f"copied {len(jobs)} files"), ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(lambda job: _write(store, job[0], job[1], fields), jobs):
            pass
    with step(f"published revision {digest}"):
        orders = proven_orders(lock, records)
        artifacts = sorted(
            {layout.artifact(order.kind, order.key) for order in orders}
            | {layout.proof(order.key, order.proof.key) for order in orders if order.proof}
        )
        history = Provenance(lock=lock.digest(), artifacts=tuple(artifacts))
        root.put(store.key(layout.provenance(request.namespace, request.name, digest)), history.canonical())
        root.put(manifest_key, manifest)


def _size(file: LockedFile | bytes) -> int:
    return len(file) if isinstance(file, bytes) else file.size


def _write(store: Store, key: str, file: LockedFile | bytes, fields: Fields) -> None:
    if isinstance(file, bytes):
        store.root.put(key, file)
    elif file.size == 0:
        store.root.put(key, b"")
    else:
        copy(origin(store, file, fields), store.root, key)
