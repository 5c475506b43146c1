"""prune: removes an ensemble's revisions, and the reports on them, from storage; manifests first."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import Owner, parse
from ensemble_builder.commands.log import say, step
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.store import Store
from ensembles_api.contract import Fault, Result
from ensembles_api.reasons import Reason

WORKERS = 16


def run(
    *,
    store: Store,
    namespace: str,
    name: str,
    keep: Collection[str] | None = None,
    remove: Collection[str] | None = None,
    uid: str = "",
) -> Result:
    """Remove revisions. Blobs, artifacts and locks stay: other ensembles share them.

    Args:
        store: storage.
        namespace: of the ensemble.
        name: of the ensemble.
        keep: digests that stay, all others go; empty removes owner.json as well. Give this or `remove`.
        remove: digests that go.
        uid: the resource's, compared with the one that published last; empty does not compare.

    Raises:
        FaultError: ObjectNotOwned where owner.json names another resource; nothing is deleted then.
    """
    if not _is_ours(store, namespace, name, uid):
        say(f"nothing of {namespace}/{name} lies in {store.location.uri}")
        return Result()
    revisions = _by_digest(store, layout.revisions(namespace, name))
    reports = _by_digest(store, layout.reports(namespace, name))
    for digest in revisions.keys() | reports.keys():
        if digest not in keep if keep is not None else digest in (remove or ()):
            keys = [*revisions.get(digest, ()), *reports.get(digest, ())]
            _remove(store, store.key(layout.manifest(namespace, name, digest)), digest, keys)
    if keep is not None and not keep:
        store.root.delete(store.key(layout.owner(namespace, name)))
    return Result()


def _by_digest(store: Store, folder: str) -> dict[str, list[str]]:
    """Revision -> keys below its part of a folder."""
    base = store.key(folder)
    found: dict[str, list[str]] = {}
    for info in store.root.list(base):
        digest, _, _ = info.key[len(base) :].partition("/")
        found.setdefault(digest, []).append(info.key)
    return found


def _is_ours(store: Store, namespace: str, name: str, uid: str) -> bool:
    key = store.key(layout.owner(namespace, name))
    data = store.root.get(key)
    if data is None:
        return False
    owner = parse(Owner, data)
    if owner and (owner.namespace, owner.name) == (namespace, name) and (not uid or owner.uid in {"", uid}):
        return True
    whose = f" (uid {owner.uid})" if owner else ""
    message = (
        f"{store.root.access.uri(key)} says that these revisions belong to another resource{whose}: nothing "
        "was deleted; give each cluster its own spec.storage.uri"
    )
    raise FaultError(Fault(code=Reason.OBJECT_NOT_OWNED, field="spec.storage.uri", message=message))


def _remove(store: Store, manifest: str, digest: str, keys: list[str]) -> None:
    with step(f"removed revision {digest}: {len(keys)} objects"), ThreadPoolExecutor(WORKERS) as pool:
        # Without its manifest a revision does not exist: nobody begins to fetch what is half gone.
        store.root.delete(manifest)
        for _ in pool.map(store.root.delete, [key for key in keys if key != manifest]):
            pass
