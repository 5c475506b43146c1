"""Does a live object still say what we wrote? Decides whether to apply again.

The API server adds defaults, others add fields and list items of their own: only what we state is compared.
The lists that server-side apply merges by key are compared by that key, all others as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kubernetes.utils import parse_quantity

LIST_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "claims": ("name",),
    "resourceClaims": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "ports": ("port", "containerPort", "protocol"),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ownerReferences": ("uid",),
}
"""Field -> x-kubernetes-list-map-keys, for the lists that our manifests have."""

KEY_DEFAULTS = {"protocol": "TCP"}
QUANTITY_FIELDS = frozenset({"requests", "limits", "sizeLimit"})
EMPTY: tuple[Any, ...] = (None, "", [], {})
PRESENCE_FIELDS = frozenset({"emptyDir"})
"""Fields that say something by being there, empty or not."""


def covers(
    live: Mapping[str, Any], wanted: Mapping[str, Any], *, ignore: frozenset[str] = frozenset()
) -> bool:
    """Whether every field of `wanted` is in `live` with an equal value; `ignore` are paths of others."""
    return _mapping(live, wanted, path="", quantity=False, ignore=ignore)


def selects_more(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a Service selects by other labels: one that was added hides pods, though ours are there."""
    return bool(live.get("spec", {}).get("selector") != wanted["spec"]["selector"])


def _mapping(
    live: Mapping[str, Any], wanted: Mapping[str, Any], *, path: str, quantity: bool, ignore: frozenset[str]
) -> bool:
    for field, value in wanted.items():
        here = f"{path}.{field}" if path else field
        if here in ignore:
            continue
        if field not in live:
            # The API server leaves these out; 0 and false it keeps where absence means something else.
            if value not in EMPTY or field in PRESENCE_FIELDS:
                return False
            continue
        is_quantity = quantity or field in QUANTITY_FIELDS
        if not _value(live[field], value, field=field, path=here, quantity=is_quantity, ignore=ignore):
            return False
    return True


def _value(live: Any, wanted: Any, *, field: str, path: str, quantity: bool, ignore: frozenset[str]) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and _mapping(
            live, wanted, path=path, quantity=quantity, ignore=ignore
        )
    if isinstance(wanted, list | tuple):
        if not isinstance(live, list | tuple):
            return False
        keys = LIST_KEYS.get(field)
        if keys and all(isinstance(item, Mapping) for item in [*live, *wanted]):
            return _keyed(live, wanted, keys=keys, path=path, ignore=ignore)
        return len(live) == len(wanted) and all(
            _value(*pair, field=field, path=path, quantity=False, ignore=ignore)
            for pair in zip(live, wanted, strict=True)
        )
    return _scalar(live, wanted, quantity=quantity)


def _keyed(
    live: Sequence[Mapping[str, Any]],
    wanted: Sequence[Mapping[str, Any]],
    *,
    keys: tuple[str, ...],
    path: str,
    ignore: frozenset[str],
) -> bool:
    return all(
        any(
            _key(candidate, keys) == _key(item, keys)
            and _mapping(candidate, item, path=path, quantity=False, ignore=ignore)
            for candidate in live
        )
        for item in wanted
    )


def _key(item: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key, KEY_DEFAULTS.get(key)) for key in keys)


def _scalar(live: Any, wanted: Any, *, quantity: bool) -> bool:
    # bool is an int in Python, not in JSON.
    if live == wanted and isinstance(live, bool) == isinstance(wanted, bool):
        return True
    if not quantity or not isinstance(live, str | int) or not isinstance(wanted, str | int):
        return False
    try:
        return bool(parse_quantity(live) == parse_quantity(wanted))
    except ValueError:
        return False
