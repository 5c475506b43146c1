"""One bucket seen with one set of keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import ClientError

from ensemble_builder.faults import FaultError
from ensemble_builder.storage.errors import (
    BUCKET_ERRORS,
    Access,
    StorageError,
    code_of,
    fault_of,
    is_absent,
    is_changed,
    is_unsupported,
    replaced,
)
from ensemble_builder.storage.retry import Attempts, Patience, persistently
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
CHUNK = 1 << 20
DOCUMENT_LIMIT = 64 << 20
"""Bytes a JSON document or text read as a whole may have."""


@dataclass(frozen=True)
class ObjectInfo:
    key: str
    size: int
    etag: str
    version_id: str = ""
    modified: datetime | None = None
    """Known from listings."""


@dataclass(frozen=True)
class Bucket:
    """Requests on one bucket. Every method raises FaultError, with `access.uri_field` or
    `access.keys_field`.
    """

    client: S3Client
    name: str
    access: Access
    patience: Patience

    def request(self, action: Callable[[], T], *, key: str, doing: str) -> T:
        """Run an idempotent request with patience; what it raises at the end becomes a fault."""
        try:
            return persistently(self.patience, action)
        except StorageError as error:
            raise self.fault(error, key=key, doing=doing) from error

    def fault(self, error: BaseException, *, key: str, doing: str) -> FaultError:
        """The fault for an error; where something is absent, the bucket or the keys may be the cause."""
        cause = (self._bucket_error() if is_absent(error) else None) or error
        return fault_of(cause, self.access, key=key, doing=doing)

    def _bucket_error(self) -> ClientError | None:
        """What is wrong with the bucket itself: answers to HEAD have no body that would say it."""
        try:
            persistently(self.patience, lambda: self.client.list_objects_v2(Bucket=self.name, MaxKeys=1))
        except ClientError as error:
            # Listing may be forbidden where reading is not.
            return error if code_of(error) in BUCKET_ERRORS else None
        except StorageError:
            return None
        return None

    def _absent(self, error: ClientError) -> None:
        """Return where an error says that just this object does not exist; raise the cause otherwise."""
        cause = self._bucket_error() if is_absent(error) else error
        if cause is not None:
            raise cause from error

    def head(self, key: str) -> ObjectInfo | None:
        """Size and ETag of an object, None where it does not exist."""

        def ask() -> ObjectInfo | None:
            try:
                found = self.client.head_object(Bucket=self.name, Key=key)
            except ClientError as error:
                self._absent(error)
                return None
            return ObjectInfo(key, found["ContentLength"], found["ETag"], _version(found.get("VersionId")))

        return self.request(ask, key=key, doing="looking for")

    def get(self, key: str, *, limit: int = DOCUMENT_LIMIT) -> bytes | None:
        """A small object's bytes, None where it does not exist."""

        def ask() -> bytes | None:
            try:
                found = self.client.get_object(Bucket=self.name, Key=key)
            except ClientError as error:
                self._absent(error)
                return None
            if found["ContentLength"] > limit:
                message = f"{self.access.uri(key)} has {found['ContentLength']} bytes, more than {limit}"
                raise FaultError(
                    Fault(code=Reason.INVALID_SPEC, field=self.access.uri_field, message=message)
                )
            return found["Body"].read()

        return self.request(ask, key=key, doing="reading")

    def stream(
        self, key: str, *, start: int = 0, end: int, etag: str = "", version_id: str = ""
    ) -> Iterator[bytes]:
        """Bytes [start, end) of an object, resumed where a connection breaks.

        With `etag`, an object that was replaced since is refused.
        """
        attempts = Attempts(self.patience)
        at = start
        while at < end:
            conditions = {"IfMatch": etag} if etag else {}
            if version_id:
                conditions["VersionId"] = version_id
            try:
                found = self.client.get_object(
                    Bucket=self.name,
                    Key=key,
                    Range=f"bytes={at}-{end - 1}",
                    **conditions,  # type: ignore[arg-type]
                )
                for chunk in found["Body"].iter_chunks(CHUNK):
                    at += len(chunk)
                    attempts.progress()
                    yield chunk
                if at < end:
                    raise _short(self.access, key, at, end)
            except StorageError as error:
                if is_changed(error):
                    raise replaced(self.access, key) from error
                if code_of(error) == "InvalidRange":
                    raise _short(self.access, key, at, end) from error
                if not attempts.again(error):
                    raise self.fault(error, key=key, doing="reading") from error

    def put(self, key: str, data: bytes) -> None:
        self.request(
            lambda: self.client.put_object(Bucket=self.name, Key=key, Body=data), key=key, doing="writing"
        )

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write unless the key exists; True where this call wrote it.

        Servers without conditional writes are asked first and then written: two writers at one instant may
        then both win, which content-addressed blobs and equal records bear.
        """

        def write() -> bool:
            try:
                self.client.put_object(Bucket=self.name, Key=key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if is_changed(error):
                    return False
                if not is_unsupported(error):
                    raise
                if self.head(key) is not None:
                    return False
                self.client.put_object(Bucket=self.name, Key=key, Body=data)
            return True

        return self.request(write, key=key, doing="writing")

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects below a prefix in key order; folder markers are left out."""
        token = ""
        while True:
            more = {"ContinuationToken": token} if token else {}
            page = self.request(
                lambda more=more: self.client.list_objects_v2(Bucket=self.name, Prefix=prefix, **more),  # type: ignore[misc]
                key=prefix,
                doing="listing",
            )
            for found in page.get("Contents", ()):
                if not found["Key"].endswith("/"):
                    yield ObjectInfo(
                        found["Key"], found["Size"], found["ETag"], modified=found["LastModified"]
                    )
            token = page.get("NextContinuationToken", "")
            if not token:
                return

    def delete(self, key: str) -> None:
        """Remove an object; one that is gone already is fine."""
        self.request(lambda: self.client.delete_object(Bucket=self.name, Key=key), key=key, doing="deleting")


def _version(version_id: str | None) -> str:
    # Unversioned buckets answer "null" on some servers: it cannot be asked for on others.
    return "" if version_id in (None, "null") else version_id


def _short(access: Access, key: str, at: int, end: int) -> FaultError:
    message = f"{access.uri(key)} ends at byte {at} instead of {end}"
    return FaultError(Fault(code=Reason.STORAGE_CORRUPT, field=access.uri_field, message=message))
