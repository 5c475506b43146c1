"""ConfigMaps that specs name.

They belong to users and carry no label of ours; watching all ConfigMaps of a cluster would cost more memory
than everything else, so the named ones are read: at a pass when the last look is old, and by `poll` between.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import NotFoundError
from ensemble_operator.cluster.kinds import CONFIG_MAP
from ensemble_operator.observe.routing import Key

FRESH_SECONDS = 2.0
POLL_SECONDS = 10.0

Digests = Mapping[str, str]


@dataclass(frozen=True)
class _Look:
    at: float
    digests: Digests | None


class UserConfigMaps:
    """Digests of the values of users' ConfigMaps.

    Args:
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(self, api: KubernetesApi, *, monotonic: Callable[[], float]) -> None:
        self._api = api
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._looks: dict[tuple[str, str], _Look] = {}
        self._wanted: dict[Key, frozenset[str]] = {}

    def digests(self, key: Key, names: Iterable[str]) -> dict[str, Digests | None]:
        """By name: the sha256 of each value; None where the ConfigMap does not exist.

        Raises:
            ensemble_operator.cluster.errors.ApiError: a ConfigMap cannot be read.
        """
        wanted = frozenset(names)
        with self._lock:
            self._wanted[key] = wanted
        return {name: self._recent(key.namespace, name) for name in sorted(wanted)}

    def forget(self, key: Key) -> None:
        """The ensemble no longer exists."""
        with self._lock:
            self._wanted.pop(key, None)
            named = {(other.namespace, name) for other, names in self._wanted.items() for name in names}
            self._looks = {place: look for place, look in self._looks.items() if place in named}

    def poll(self) -> frozenset[Key]:
        """Look at all that were looked at too long ago; returns the ensembles for which something changed.

        Raises:
            ensemble_operator.cluster.errors.ApiError: a ConfigMap cannot be read.
        """
        with self._lock:
            looks, wanted = dict(self._looks), dict(self._wanted)
        now = self._monotonic()
        changed = {
            place
            for place, look in looks.items()
            # One that is missing is about to come: whoever applies a folder applies it in any order.
            if now - look.at >= (POLL_SECONDS if look.digests is not None else FRESH_SECONDS)
            and self._look(*place).digests != look.digests
        }
        return frozenset(
            key for key, names in wanted.items() if any((key.namespace, name) in changed for name in names)
        )

    def _recent(self, namespace: str, name: str) -> Digests | None:
        with self._lock:
            look = self._looks.get((namespace, name))
        if look is None or self._monotonic() - look.at >= FRESH_SECONDS:
            look = self._look(namespace, name)
        return look.digests

    def _look(self, namespace: str, name: str) -> _Look:
        at = self._monotonic()
        try:
            digests: Digests | None = value_digests(self._api.get(CONFIG_MAP, namespace, name))
        except NotFoundError:
            digests = None
        look = _Look(at, digests)
        with self._lock:
            self._looks[(namespace, name)] = look
        return look


def value_digests(manifest: Mapping[str, Any]) -> dict[str, str]:
    """sha256 (hex) of the bytes of each value of a ConfigMap."""
    values = {key: text.encode() for key, text in (manifest.get("data") or {}).items()}
    values |= {key: base64.b64decode(text) for key, text in (manifest.get("binaryData") or {}).items()}
    return {key: hashlib.sha256(value).hexdigest() for key, value in values.items()}
