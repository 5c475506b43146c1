"""Finds every Source of a spec, with its field path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from ensembles_api.spec import Model, Source


def iter_sources(models: Sequence[Model]) -> Iterator[tuple[str, Source]]:
    """Yield (field, source) in document order, e.g. ("spec.models[0].dali.source", Source(...))."""
    for index, model in enumerate(models):
        yield from _walk(f"spec.models[{index}]", model)


def _walk(path: str, value: Any) -> Iterator[tuple[str, Source]]:
    if isinstance(value, Source):
        yield path, value
    elif isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            yield from _walk(f"{path}.{info.alias or name}", getattr(value, name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _walk(f"{path}[{index}]", item)
