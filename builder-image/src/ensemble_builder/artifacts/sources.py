"""Every source of a request, with the field that names it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault, LockedSource, Request
from ensembles_api.reasons import Reason
from ensembles_api.sources import iter_sources
from ensembles_api.spec import Dali, Export, Model, OnnxRuntime, Python, Source, TensorRT

Kind = Literal["dali", "tensorrt", "onnxruntime", "python", "files"]
Definition = Dali | TensorRT | OnnxRuntime | Python | Source


class Extent(Enum):
    FILE = "file"
    FOLDER = "folder"
    EITHER = "either"


@dataclass(frozen=True)
class SourceRef:
    """A source, its path in the resource (spec.models[0].dali.source), and what it may be."""

    field: str
    source: Source
    extent: Extent = Extent.FILE


@dataclass(frozen=True)
class Version:
    """One version of one model that consists of files (all kinds but ensembles)."""

    index: int
    model: Model
    number: int
    field: str
    """spec.models[2].dali, or spec.models[2].versions[1].dali."""
    kind: Kind
    definition: Definition

    @property
    def export(self) -> Export | None:
        """The container that writes the model, where there is one instead of a source."""
        return self.definition.export if isinstance(self.definition, TensorRT | OnnxRuntime) else None

    @property
    def source_field(self) -> str:
        """Where the model's file comes from: a source, or an export, whose files are locked once built."""
        if self.kind == "files":
            return self.field
        return f"{self.field}.export" if self.export else f"{self.field}.source"

    @property
    def source(self) -> Source | None:
        return self.definition if isinstance(self.definition, Source) else self.definition.source

    @property
    def is_folder(self) -> bool:
        """Whether the source may hold several files."""
        return self.source is None or is_folder(self.source)

    @property
    def origin(self) -> str:
        """The source in words, for messages."""
        return str(self.source.uri) if self.source else "the export"


REPOSITORY = "spec.repository"


def is_folder(source: Source) -> bool:
    return bool(source.uri) and (source.uri or "").endswith("/")


def versions(request: Request) -> Iterator[Version]:
    for index, model in enumerate(request.models):
        yield from model_versions(index, model)


def model_versions(index: int, model: Model) -> Iterator[Version]:
    at = f"spec.models[{index}]"
    if model.files:
        yield Version(index, model, 1, f"{at}.files", "files", model.files)
    for kind in ("dali", "tensorrt", "onnxruntime", "python"):
        if definition := getattr(model, kind):
            yield Version(index, model, 1, f"{at}.{kind}", kind, definition)
        for place, version in enumerate(model.versions or ()):
            if definition := getattr(version, kind):
                field = f"{at}.versions[{place}].{kind}"
                yield Version(index, model, version.version, field, kind, definition)


FOLDER_KINDS = re.compile(
    r"\.(onnxruntime|tensorrt|python|extraFiles\[\d+\]|export\.inputs\[\d+\])\.source$|\.files$"
)
"""Fields whose source may be a folder."""


def sources(request: Request) -> Iterator[SourceRef]:
    """All sources, in the order of the resource; each field stands once."""
    for field, source in iter_sources(request):
        yield SourceRef(field, source, Extent.EITHER if FOLDER_KINDS.search(field) else Extent.FILE)
    if request.repository:
        uri = request.repository.uri
        folder = Source(
            uri=uri if uri.endswith("/") else f"{uri}/", secret_name=request.repository.secret_name
        )
        yield SourceRef(REPOSITORY, folder, Extent.FOLDER)


def check_extent(ref: SourceRef) -> None:
    """Refuse a folder where a file is needed, and the reverse.

    Raises:
        FaultError: InvalidSpec.
    """
    folder = is_folder(ref.source)
    if folder and ref.extent is Extent.FILE:
        message = f"{ref.source.uri} is a folder; name one file (without the / at the end)"
    elif not folder and ref.extent is Extent.FOLDER:
        message = "a folder is needed: give a uri ending in /"
    elif folder and ref.source.sha256:
        message = "a folder has no sha256: remove it, or name one file"
    else:
        return
    raise FaultError(Fault(code=Reason.INVALID_SPEC, field=ref.field, message=message))


Locked = Mapping[str, LockedSource]
"""Locked sources by field."""


def by_field(locked: tuple[LockedSource, ...]) -> Locked:
    return {source.field: source for source in locked}
