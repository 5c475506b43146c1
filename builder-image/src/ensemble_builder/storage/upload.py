"""Uploads of files, in parallel parts where they are large."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from typing_extensions import Self

from ensemble_builder.storage.bucket import Bucket
from ensemble_builder.storage.errors import StorageError
from ensemble_builder.storage.folder import AnyBucket, FolderBucket

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

WORKERS = 8
PART_SIZE = 8 << 20
"""WORKERS x PART_SIZE bytes stand in memory at a time."""
MOST_PARTS = 10_000

SendPart = Callable[[str, int], str]
"""(upload id, part number from 1) -> ETag of the part."""


def upload_file(
    bucket: AnyBucket, key: str, *, descriptor: int, size: int, part_size: int = PART_SIZE
) -> None:
    """Write an open file's first `size` bytes to a key; the key appears only when whole."""
    if isinstance(bucket, FolderBucket):
        starts = range(0, size, part_size)
        bucket.write(key, (os.pread(descriptor, min(part_size, size - at), at) for at in starts))
        return
    if size <= part_size:
        bucket.put(key, os.pread(descriptor, size, 0))
        return
    step = part_length(size, part_size)

    def send(upload_id: str, number: int) -> str:
        body = os.pread(descriptor, step, (number - 1) * step)
        return put_part(bucket, key, upload_id, number, body)

    in_parts(bucket, key, parts=math.ceil(size / step), send=send)


def part_length(size: int, part_size: int) -> int:
    """A part size that keeps `size` bytes within the S3 limit of 10,000 parts."""
    return max(part_size, math.ceil(size / MOST_PARTS))


def put_part(bucket: Bucket, key: str, upload_id: str, number: int, body: bytes) -> str:
    answer = bucket.request(
        lambda: bucket.client.upload_part(
            Bucket=bucket.name, Key=key, UploadId=upload_id, PartNumber=number, Body=body
        ),
        key=key,
        doing="writing",
    )
    return answer["ETag"]


def in_parts(bucket: Bucket, key: str, *, parts: int, send: SendPart, workers: int = WORKERS) -> None:
    """One multi-part upload whose parts are sent in parallel; given up as a whole when one fails."""
    with MultiPart(bucket, key) as upload:
        pool = ThreadPoolExecutor(workers, thread_name_prefix="upload")
        try:
            upload.complete(pool.map(lambda number: send(upload.id, number), range(1, parts + 1)))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class MultiPart:
    """A multi-part upload; leaving it without `complete` removes its parts."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._complete = False
        self.id = ""

    def __enter__(self) -> Self:
        bucket, key = self._bucket, self._key
        answer = bucket.request(
            lambda: bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key),
            key=key,
            doing="writing",
        )
        self.id = answer["UploadId"]
        return self

    def complete(self, etags: Iterable[str]) -> None:
        """Make the object of the parts with these ETags, in order."""
        bucket, key = self._bucket, self._key
        parts: list[CompletedPartTypeDef] = [
            {"ETag": etag, "PartNumber": number} for number, etag in enumerate(etags, start=1)
        ]
        bucket.request(
            lambda: bucket.client.complete_multipart_upload(
                Bucket=bucket.name, Key=key, UploadId=self.id, MultipartUpload={"Parts": parts}
            ),
            key=key,
            doing="writing",
        )
        self._complete = True

    def __exit__(self, *_: object) -> None:
        if self._complete:
            return
        bucket = self._bucket
        try:
            bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=self._key, UploadId=self.id)
        except StorageError:
            # Best effort: the error that brought us here is the one to report.
            return
