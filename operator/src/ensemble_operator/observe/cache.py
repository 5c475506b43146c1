"""The newest known state of every object of interest, fed by watch events, lists and our own writes.

resourceVersions of one kind are compared as numbers, which the API guarantees for its own kinds and for
custom resources (KEP-5504); a late or repeated event therefore never turns the cache back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ensemble_operator.cluster.kinds import ENSEMBLE, Kind, kind_named
from ensemble_operator.observe.objects import is_of_spec

Object = Mapping[str, Any]

_TOMBSTONES = 10_000
"""Deletions remembered, so that a late answer does not bring an object back."""


class ObjectCache:
    """Objects by kind, namespace and name. Stored objects are shared and must not be changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[Kind, dict[str, dict[str, Object]]] = {}
        self._tombstones: dict[str, int] = {}
        self._watched: dict[tuple[Kind, str], int] = {}
        self._streamed: dict[str, int] = {}
        """The newest version of each living object that a watch has brought, by uid."""

    def store(self, manifest: Object) -> bool:
        """Keep an object as read or written just now.

        Returns:
            Whether that was news.
        """
        with self._lock:
            return self._store(manifest)

    def remove(self, manifest: Object) -> bool:
        """Forget a deleted object, given as it last was."""
        with self._lock:
            return self._remove(manifest)

    def watched(self, event_type: str | None, manifest: Object) -> bool:
        """Take a watch event: its type, None for the initial list.

        Returns:
            Whether the stream moved on with it, which is not whether the cache learned from it: the answer
            to a write of ours may have brought along a change of somebody else's that nobody looked at yet.
        """
        with self._lock:
            self._note_watched(manifest)
            uid, version = _uid(manifest), _version(manifest)
            moved = version > self._streamed.get(uid, -1)
            if event_type == "DELETED":
                self._streamed.pop(uid, None)
                self._remove(manifest)
            else:
                self._streamed[uid] = max(version, self._streamed.get(uid, -1))
                self._store(manifest)
            return moved

    def watched_version(self, kind: Kind, namespace: str | None) -> int:
        """The newest resourceVersion that the watch of a kind (of one namespace, or of all) has brought."""
        with self._lock:
            return max(
                (
                    version
                    for (seen, where), version in self._watched.items()
                    if seen == kind and namespace in (None, where)
                ),
                default=0,
            )

    def replace(
        self,
        kind: Kind,
        namespace: str | None,
        items: Iterable[Object],
        *,
        version: str,
        where: Callable[[Object], bool] = lambda _: True,
    ) -> None:
        """Take a complete list of the objects of a kind for which `where` holds, as of a resourceVersion."""
        listed = list(items)
        self.drop_missing(kind, namespace, (_uid(item) for item in listed), version=version, where=where)
        for item in listed:
            self.store(item)

    def drop_missing(
        self,
        kind: Kind,
        namespace: str | None,
        uids: Iterable[str],
        *,
        version: str,
        where: Callable[[Object], bool] = lambda _: True,
    ) -> tuple[Object, ...]:
        """Forget objects that a complete list no longer has; returns them."""
        present = set(uids)
        with self._lock:
            gone = [
                known
                for known in self._all(kind, namespace)
                # What is newer than the list was written after it.
                if _uid(known) not in present and _version(known) <= int(version or 0) and where(known)
            ]
            for known in gone:
                self._remove(known)
        return tuple(gone)

    def forget(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """The object of that uid is gone for good."""
        with self._lock:
            known = self._objects.get(kind, {}).get(namespace, {}).get(name)
            if known is not None and _uid(known) == uid:
                self._remove(known)

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        with self._lock:
            return self._objects.get(kind, {}).get(namespace, {}).get(name)

    def all(self, kind: Kind, namespace: str | None = None) -> tuple[Object, ...]:
        """Every object of a kind, in one namespace or in all."""
        with self._lock:
            return tuple(self._all(kind, namespace))

    def _all(self, kind: Kind, namespace: str | None) -> list[Object]:
        spaces = self._objects.get(kind, {})
        if namespace is not None:
            return list(spaces.get(namespace, {}).values())
        return [manifest for space in spaces.values() for manifest in space.values()]

    def _store(self, manifest: Object) -> bool:
        version = _version(manifest)
        if version <= self._tombstones.get(_uid(manifest), -1):
            return False
        space = self._space(manifest)
        known = space.get(manifest["metadata"]["name"])
        if known is not None and _version(known) >= version:
            return False
        space[manifest["metadata"]["name"]] = _slim(manifest)
        return True

    def _remove(self, manifest: Object) -> bool:
        uid, name = _uid(manifest), manifest["metadata"]["name"]
        space = self._space(manifest)
        known = space.get(name)
        if known is not None and _uid(known) == uid and _version(known) > _version(manifest):
            return False  # it only left the watch's selection for a while
        self._bury(uid, _version(manifest))
        self._streamed.pop(uid, None)
        if known is None or _uid(known) != uid:
            return False
        del space[name]
        return True

    def _bury(self, uid: str, version: int) -> None:
        self._tombstones[uid] = max(version, self._tombstones.get(uid, 0))
        while len(self._tombstones) > _TOMBSTONES:
            del self._tombstones[next(iter(self._tombstones))]

    def _note_watched(self, manifest: Object) -> None:
        key = (_kind(manifest), manifest["metadata"]["namespace"])
        self._watched[key] = max(_version(manifest), self._watched.get(key, 0))

    def _space(self, manifest: Object) -> dict[str, Object]:
        spaces = self._objects.setdefault(_kind(manifest), {})
        return spaces.setdefault(manifest["metadata"]["namespace"], {})


def _kind(manifest: Object) -> Kind:
    return kind_named(manifest["kind"])


def _uid(manifest: Object) -> str:
    return str(manifest["metadata"]["uid"])


def _version(manifest: Object) -> int:
    return int(manifest["metadata"]["resourceVersion"])


def _slim(manifest: Object) -> Object:
    """Without managedFields, which are half of a pod's text; of an ensemble's, only who changed its spec."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
    if manifest["kind"] == ENSEMBLE.name:
        metadata["managedFields"] = [
            {**entry, "fieldsV1": {"f:spec": {}}}
            for entry in manifest["metadata"].get("managedFields") or ()
            if is_of_spec(entry)
        ]
    return {**manifest, "metadata": metadata}
