"""Copies inside the storage server, and through this process where the server cannot."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

from ensemble_builder.faults import FaultError
from ensemble_builder.storage.bucket import Bucket
from ensemble_builder.storage.errors import StorageError, is_absent, is_changed, is_unsupported, replaced
from ensemble_builder.storage.folder import AnyBucket, FolderBucket
from ensemble_builder.storage.retry import persistently
from ensemble_builder.storage.upload import PART_SIZE, MultiPart, in_parts, part_length, put_part
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason

COPY_LIMIT = 5 << 30
"""Bytes one CopyObject may copy (S3 API reference, CopyObject)."""
COPY_PART = 512 << 20


@dataclass(frozen=True)
class Origin:
    """An object to copy: `etag` pins it, `sha256` is what its bytes are known to be."""

    bucket: AnyBucket
    key: str
    size: int
    sha256: str
    etag: str = ""
    version_id: str = ""


def copy(
    origin: Origin, bucket: AnyBucket, key: str, *, limit: int = COPY_LIMIT, part: int = COPY_PART
) -> None:
    """Copy an object to `key` without its bytes passing here, where both buckets take the same keys.

    Raises:
        FaultError: DigestMismatch where the origin is another object than was pinned, SourceMissing where it
            is gone; else as Bucket.
    """
    if isinstance(bucket, FolderBucket):
        bucket.write(key, _checked_blocks(origin))
        return
    if isinstance(origin.bucket, FolderBucket) or origin.bucket.client is not bucket.client:
        _through(origin, bucket, key)
        return
    try:
        _inside(origin, bucket, key, limit=limit, part=part)
    except StorageError as error:
        if is_changed(error):
            raise replaced(origin.bucket.access, origin.key) from error
        if is_unsupported(error):
            _through(origin, bucket, key)
            return
        owner = origin.bucket if is_absent(error) else bucket
        raise owner.fault(error, key=origin.key, doing="copying") from error


def _inside(origin: Origin, bucket: Bucket, key: str, *, limit: int, part: int) -> None:
    source = {"Bucket": origin.bucket.name, "Key": origin.key}
    if origin.version_id:
        source["VersionId"] = origin.version_id
    condition = {"CopySourceIfMatch": origin.etag} if origin.etag else {}
    if origin.size <= limit:
        persistently(
            bucket.patience,
            lambda: bucket.client.copy_object(Bucket=bucket.name, Key=key, CopySource=source, **condition),  # type: ignore[arg-type]
        )
        return

    step = part_length(origin.size, part)

    def send(upload_id: str, number: int) -> str:
        start = (number - 1) * step
        answer = persistently(
            bucket.patience,
            lambda: bucket.client.upload_part_copy(
                Bucket=bucket.name,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                CopySource=source,  # type: ignore[arg-type]
                CopySourceRange=f"bytes={start}-{min(start + step, origin.size) - 1}",
                **condition,  # type: ignore[arg-type]
            ),
        )
        return answer["CopyPartResult"]["ETag"]

    in_parts(bucket, key, parts=math.ceil(origin.size / step), send=send)


def _through(origin: Origin, bucket: Bucket, key: str) -> None:
    """Read and write again, one part in memory; the digest is checked before the object appears."""
    step = part_length(origin.size, PART_SIZE)
    digest = hashlib.sha256()
    blocks = _blocks(origin, step)
    if origin.size <= step:
        body = b"".join(blocks)
        digest.update(body)
        _check(origin, digest.hexdigest())
        bucket.put(key, body)
        return
    with MultiPart(bucket, key) as upload:
        etags = []
        for number, body in enumerate(blocks, start=1):
            digest.update(body)
            etags.append(put_part(bucket, key, upload.id, number, body))
        _check(origin, digest.hexdigest())
        upload.complete(etags)


def _checked_blocks(origin: Origin) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for block in _blocks(origin, PART_SIZE):
        digest.update(block)
        yield block
    _check(origin, digest.hexdigest())


def _blocks(origin: Origin, step: int) -> Iterator[bytes]:
    buffer = bytearray()
    for chunk in origin.bucket.stream(
        origin.key, end=origin.size, etag=origin.etag, version_id=origin.version_id
    ):
        buffer += chunk
        while len(buffer) >= step:
            yield bytes(buffer[:step])
            del buffer[:step]
    if buffer:
        yield bytes(buffer)


def _check(origin: Origin, found: str) -> None:
    if found != origin.sha256:
        message = f"{origin.bucket.access.uri(origin.key)} has sha256 {found} instead of {origin.sha256}"
        raise FaultError(
            Fault(code=Reason.STORAGE_CORRUPT, field=origin.bucket.access.uri_field, message=message)
        )
