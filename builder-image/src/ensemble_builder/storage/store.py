"""The storage of one resource: its root, and the buckets its sources lie in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ensemble_builder.faults import FaultError
from ensemble_builder.storage.bucket import Bucket
from ensemble_builder.storage.client import IDENTITY_VARIABLES, make_client
from ensemble_builder.storage.errors import Access
from ensemble_builder.storage.folder import AnyBucket, FolderBucket, Mount
from ensemble_builder.storage.retry import Patience
from ensembles_api.contract import Fault, StorageLocation
from ensembles_api.names import SECRET_ACCESS_KEY_ID
from ensembles_api.reasons import Reason

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SECRET_FIELD = "spec.storage.secretName"  # noqa: S105 - the name of a field
IDENTITY_FIELD = "spec.storage.identity"


def split_uri(uri: str, *, uri_field: str) -> tuple[str, str]:
    """Bucket and key (or prefix) of s3://bucket/key; of file:///key, which has no bucket and is
    percent-encoded.

    Raises:
        FaultError: InvalidSpec where it is no such URI.
    """
    scheme, found, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme == "file" and not bucket:
        return "", unquote(key)
    if scheme != "s3" or not found or not bucket:
        message = f"{uri!r} is no S3 location: write s3://bucket/key"
        raise FaultError(Fault(code=Reason.INVALID_SPEC, field=uri_field, message=message))
    return bucket, key


@dataclass(frozen=True)
class Store:
    """Storage as spec.storage describes it. Clients are made on first use, one per Secret, and are
    thread-safe.

    Args:
        location: where the storage is; a file:// URI keeps it on this machine.
        folders: buckets whose objects are taken from folders of this machine.
        environ: has the keys.
        patience: with servers.
    """

    location: StorageLocation
    folders: Mapping[str, tuple[Mount, ...]] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    patience: Patience = field(default_factory=Patience, repr=False)
    _clients: dict[str | None, S3Client] = field(default_factory=dict, repr=False)

    @cached_property
    def prefix(self) -> str:
        """Key prefix of everything below the storage's URI: empty, or ending in a slash."""
        key = split_uri(self.location.uri, uri_field="spec.storage.uri")[1].strip("/")
        return f"{key}/" if key else ""

    @cached_property
    def root(self) -> AnyBucket:
        """The storage's own bucket; keys are those of `key`."""
        name = split_uri(self.location.uri, uri_field="spec.storage.uri")[0]
        if not name:
            access = Access("this machine", name, "spec.storage.uri", self.keys_field)
            return FolderBucket(name, access, (Mount("", Path("/")),))
        return self.bucket(name, secret_name=None, uri_field="spec.storage.uri", keys_field=self.keys_field)

    @property
    def keys_field(self) -> str:
        """The field from which the storage's own keys come."""
        by_identity = SECRET_ACCESS_KEY_ID not in self.environ and any(
            self.environ.get(name) for name in IDENTITY_VARIABLES
        )
        return IDENTITY_FIELD if by_identity else SECRET_FIELD

    def key(self, path: str) -> str:
        """The key of a path below the storage's URI."""
        return f"{self.prefix}{path}"

    def bucket(self, name: str, *, secret_name: str | None, uri_field: str, keys_field: str) -> AnyBucket:
        """A bucket on the storage's endpoint, seen with the keys of `secret_name`."""
        mounts = self.folders.get(name)
        if mounts is not None:
            places = ", ".join(str(mount.folder) for mount in mounts)
            return FolderBucket(name, Access(places, name, uri_field, keys_field), mounts)
        if secret_name not in self._clients:
            self._clients[secret_name] = make_client(
                self.location,
                secret_name=secret_name,
                keys_field=keys_field,
                environ=self.environ,
                patience=self.patience,
            )
        endpoint = self.location.endpoint or f"AWS S3 in {self.location.region}"
        access = Access(endpoint=endpoint, bucket=name, uri_field=uri_field, keys_field=keys_field)
        return Bucket(self._clients[secret_name], name, access, self.patience)

    def source_bucket(self, name: str, *, secret_name: str | None, source_field: str) -> AnyBucket:
        """The bucket of a source of the spec, e.g. source_field spec.models[0].dali.source."""
        return self.bucket(
            name,
            secret_name=secret_name,
            uri_field=f"{source_field}.uri",
            keys_field=f"{source_field}.secretName" if secret_name else self.keys_field,
        )
