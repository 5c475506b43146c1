"""Objects of ours whose kinds a cluster need not have.

A watch of a kind that is not there fails, and nobody tells when the kind comes: so they are listed once in a
while.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import ForbiddenError, NotFoundError
from ensemble_operator.cluster.kinds import ENSEMBLE, OPTIONAL, Kind, selector_of
from ensemble_operator.observe.cache import Object, ObjectCache
from ensemble_operator.observe.routing import Key, keys_of

POLL_SECONDS = 10.0

Place = tuple[str, str, str]


class OptionalKinds:
    """Keeps the cache's objects of optional kinds up to date.

    Args:
        scopes: namespaces, or None for all.
    """

    def __init__(self, api: KubernetesApi, cache: ObjectCache, scopes: tuple[str | None, ...]) -> None:
        self._api = api
        self._cache = cache
        self._scopes = scopes
        self._lock = threading.Lock()
        self._missing: Mapping[str, str] = {kind.name: "not asked for yet" for kind in OPTIONAL}

    def missing(self) -> Mapping[str, str]:
        """The kinds of which the last poll could see nothing, by name, and why."""
        with self._lock:
            return self._missing

    def poll(self) -> frozenset[Key]:
        """List them all; returns the ensembles for which something changed.

        Raises:
            ensemble_operator.cluster.errors.ApiError: a list failed; what was known before holds.
        """
        before = self._known()
        missing = {kind.name: why for kind in OPTIONAL if (why := self._list(kind))}
        with self._lock:
            changed, self._missing = missing != self._missing, missing
        after = self._known()
        moved = [
            before.get(place) or after[place]
            for place in before.keys() | after.keys()
            if _version(before.get(place)) != _version(after.get(place))
        ]
        concerned = self._cache.all(ENSEMBLE) if changed else moved
        return frozenset(key for manifest in concerned for key in keys_of(manifest, self._cache))

    def _list(self, kind: Kind) -> str:
        """Why the operator sees nothing of the kind; empty where it does."""
        try:
            for scope in self._scopes:
                listing = self._api.list(kind, scope, label_selector=selector_of(kind))
                self._cache.replace(kind, scope, listing.items, version=listing.resource_version)
        except NotFoundError:
            why = f"the cluster does not serve {kind.name} of {kind.api_version}"
        except ForbiddenError as error:
            why = error.message
        else:
            return ""
        for known in self._cache.all(kind):
            self._cache.remove(known)
        return why

    def _known(self) -> dict[Place, Object]:
        return {
            (kind.name, item["metadata"]["namespace"], item["metadata"]["name"]): item
            for kind in OPTIONAL
            for item in self._cache.all(kind)
        }


def _version(manifest: Object | None) -> str:
    return str(manifest["metadata"]["resourceVersion"]) if manifest else ""
