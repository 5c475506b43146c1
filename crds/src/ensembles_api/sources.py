"""Finds every Source, and every Export, of a spec, with its field path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from ensembles_api.spec import Export, Model, Source, Verification

T = TypeVar("T", bound=BaseModel)


class HasSources(Protocol):
    """A spec, or the request that is made of one."""

    @property
    def models(self) -> Sequence[Model]: ...
    @property
    def verification(self) -> Verification: ...


def iter_sources(subject: HasSources) -> Iterator[tuple[str, Source]]:
    """Yield (field, source) in document order, e.g. ("spec.models[0].dali.source", Source(...))."""
    yield from model_sources(subject.models)
    yield from _walk(Source, "spec.verification", subject.verification)


def model_sources(models: Sequence[Model]) -> Iterator[tuple[str, Source]]:
    """Those of the models alone; fields are counted from the first of them."""
    return _found(Source, models)


def iter_exports(models: Sequence[Model]) -> Iterator[tuple[str, Export]]:
    """Yield (field, export) in document order, e.g. ("spec.models[0].tensorrt.export", Export(...))."""
    return _found(Export, models)


def _found(kind: type[T], models: Sequence[Model]) -> Iterator[tuple[str, T]]:
    for index, model in enumerate(models):
        yield from _walk(kind, f"spec.models[{index}]", model)


def _walk(kind: type[T], path: str, value: Any) -> Iterator[tuple[str, T]]:
    if isinstance(value, kind):
        yield path, value
    elif isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            yield from _walk(kind, f"{path}.{info.alias or name}", getattr(value, name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _walk(kind, f"{path}[{index}]", item)
