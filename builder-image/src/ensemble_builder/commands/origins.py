"""Where a locked file's bytes lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ensemble_builder.artifacts import layout
from ensemble_builder.storage.copying import Origin
from ensemble_builder.storage.download import Download
from ensemble_builder.storage.store import Store
from ensembles_api.contract import Location, LockedFile, LockedSource

Fields = Mapping[Location, str]
"""Location -> the field of the source it belongs to."""


def fields_of(sources: Iterable[LockedSource]) -> Fields:
    return {file.location: source.field for source in sources for file in source.files if file.location}


def origin(store: Store, file: LockedFile, fields: Fields) -> Origin:
    """The object that holds a file: at its source, or among the blobs."""
    at = file.location
    if at is None:
        return Origin(store.root, store.key(layout.blob(file.sha256)), file.size, file.sha256)
    bucket = store.source_bucket(
        at.bucket, secret_name=at.secret_name, source_field=fields.get(at, "spec.models")
    )
    return Origin(bucket, at.key, file.size, file.sha256, at.etag, at.version_id)


def download_of(store: Store, file: LockedFile, target: Path, fields: Fields) -> Download:
    found = origin(store, file, fields)
    return Download(
        bucket=found.bucket,
        key=found.key,
        target=target,
        sha256=file.sha256,
        size=file.size,
        mode=file.mode,
        etag=found.etag,
        version_id=found.version_id,
    )
