"""Checks that the watch streams bring what is there, and mends the cache where they did not.

A stream that the network swallowed looks like one without news, and an object deleted while a stream was
interrupted is never reported. So once in a while the versions of all objects are listed and compared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import ApiError, NotFoundError
from ensemble_operator.cluster.kinds import WATCHED, Kind, selector_of
from ensemble_operator.health import Heartbeats
from ensemble_operator.metrics.families import Metrics
from ensemble_operator.observe.cache import Object, ObjectCache
from ensemble_operator.observe.routing import Key, keys_of

INTERVAL_SECONDS = 300.0
GRACE_SECONDS = 15.0
"""How late an event may be."""
STRIKES = 2
"""A watch that was behind at so many checks in a row fails the liveness probe."""

Scope = str | None
"""A namespace, or None for all."""

_log = logging.getLogger(__name__)


def fill(api: KubernetesApi, cache: ObjectCache, scopes: tuple[Scope, ...]) -> None:
    """Read all that is watched, so that the first decision is not taken on half of it.

    Raises:
        ensemble_operator.cluster.errors.ApiError: a list failed; NotFoundError where the CRD is missing.
    """

    def read(place: tuple[Kind, Scope]) -> None:
        kind, scope = place
        listing = api.list(kind, scope, label_selector=selector_of(kind))
        cache.replace(kind, scope, listing.items, version=listing.resource_version)

    places = [(kind, scope) for kind in WATCHED for scope in scopes]
    with ThreadPoolExecutor(8, thread_name_prefix="fill") as pool:
        list(pool.map(read, places))


@dataclass
class Watchdog:
    """Compares lists with the cache."""

    api: KubernetesApi
    cache: ObjectCache
    enqueue: Callable[[Key], None]
    heartbeats: Heartbeats
    metrics: Metrics
    scopes: tuple[Scope, ...]
    _strikes: dict[tuple[Kind, Scope], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in WATCHED:
            self.metrics.watch_behind.labels(kind=kind.name).set(0)

    def compare(self) -> dict[tuple[Kind, Scope], int]:
        """List everything and mend the cache; returns the newest version of each kind's objects.

        Failed requests prove nothing: such kinds are left out.
        """
        return {
            (kind, scope): version
            for kind in WATCHED
            for scope in self.scopes
            if (version := self._compare(kind, scope)) is not None
        }

    def judge(self, newest: Mapping[tuple[Kind, Scope], int]) -> None:
        """Find out which streams have not brought the versions of `compare`, GRACE_SECONDS after it."""
        for (kind, scope), version in newest.items():
            self._judge(kind, scope, behind=self.cache.watched_version(kind, scope) < version)

    def _compare(self, kind: Kind, scope: Scope) -> int | None:
        """Mend the cache of one kind; returns the newest version of its objects, None where unknown."""
        try:
            listing = self.api.list(kind, scope, label_selector=selector_of(kind), metadata_only=True)
            uids = [item["metadata"]["uid"] for item in listing.items]
            for gone in self.cache.drop_missing(kind, scope, uids, version=listing.resource_version):
                self._missed(kind, gone, "deletion")
            for item in listing.items:
                self._refresh(kind, item)
        except ApiError as error:
            _log.warning("watch not checked", extra={"kind": kind.name, "error": str(error)})
            return None
        return max((_version(item) for item in listing.items), default=0)

    def _refresh(self, kind: Kind, item: Object) -> None:
        metadata = item["metadata"]
        known = self.cache.get(kind, metadata["namespace"], metadata["name"])
        if known is not None and _version(known) >= _version(item):
            return
        try:
            live = self.api.get(kind, metadata["namespace"], metadata["name"])
        except NotFoundError:
            return  # its deletion is an event to come
        if self.cache.store(live):
            self._missed(kind, live, "change")

    def _missed(self, kind: Kind, manifest: Object, what: str) -> None:
        extra = {"kind": kind.name, "object": manifest["metadata"]["name"], "what": what}
        _log.info("found by listing before the watch told", extra=extra)
        for key in keys_of(manifest, self.cache):
            self.enqueue(key)

    def _judge(self, kind: Kind, scope: Scope, *, behind: bool) -> None:
        strikes = self._strikes.get((kind, scope), 0) + 1 if behind else 0
        self._strikes[(kind, scope)] = strikes
        self.metrics.watch_behind.labels(kind=kind.name).set(int(behind))
        name = f"watch of {kind.plural}" + (f" in {scope}" if scope else "")
        problem = "the stream does not bring what a list shows" if strikes >= STRIKES else ""
        self.heartbeats.fault(name, problem)
        if behind:
            _log.warning("watch is behind", extra={"kind": kind.name, "strikes": strikes})


def _version(manifest: Object) -> int:
    return int(manifest["metadata"]["resourceVersion"])
