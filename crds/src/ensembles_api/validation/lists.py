"""Lists whose items are told apart by keys (x-kubernetes-list-type: map), checked offline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ensembles_api.structural import Schema
from ensembles_api.validation.problems import Problem, path


def repeated_items(value: Any, schema: Schema, location: tuple[str | int, ...] = ()) -> Iterator[Problem]:
    """Every item of `value` (already defaulted, of the right types) whose keys an earlier one has."""
    if isinstance(value, list):
        if schema.get("x-kubernetes-list-type") == "map":
            yield from _repeated(value, schema["x-kubernetes-list-map-keys"], location)
        for index, item in enumerate(value):
            yield from repeated_items(item, schema.get("items", {}), (*location, index))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from repeated_items(item, schema.get("properties", {}).get(name, {}), (*location, name))


def _repeated(items: list[Any], keys: list[str], location: tuple[str | int, ...]) -> Iterator[Problem]:
    seen = set()
    for index, item in enumerate(items):
        identity = tuple(item.get(key) for key in keys)
        if identity in seen:
            words = ", ".join(f"{key} {item.get(key)!r}" for key in keys)
            yield Problem(path((*location, index)), f"{words} stands above already; each may stand once")
        seen.add(identity)
