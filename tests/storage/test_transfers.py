"""Downloads, uploads and copies of files, small parts so that many of them occur."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ensemble_builder.faults import FaultError
from ensemble_builder.storage.bucket import Bucket
from ensemble_builder.storage.copying import Origin, copy
from ensemble_builder.storage.download import Download, download
from ensemble_builder.storage.store import Store
from ensemble_builder.storage.upload import upload_file
from ensembles_api.contract import StorageLocation, credentials_prefix
from ensembles_api.reasons import Reason
from tests.storage.support.s3server import KEYS, QUICK, Server

pytestmark = pytest.mark.s3
PART = 5 << 20
"""The smallest part S3 allows."""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(store: Store, name: str, data: bytes) -> str:
    key = store.key(name)
    store.root.put(key, data)
    return key


def test_many_files_arrive_with_their_modes(store: Store, tmp_path: Path) -> None:
    contents = {f"folder/{number}": os.urandom(number * 1000) for number in range(40)}
    items = [
        Download(
            store.root,
            put(store, name, data),
            tmp_path / name,
            digest(data),
            len(data),
            0o755 if data else 0o644,
        )
        for name, data in contents.items()
    ]
    download(items, scratch=tmp_path / "scratch", part_size=4096)
    for name, data in contents.items():
        assert (tmp_path / name).read_bytes() == data
        assert (tmp_path / name).stat().st_mode & 0o777 == (0o755 if data else 0o644)
    assert not (tmp_path / "scratch").exists()


def test_what_is_there_is_not_read_again(server: Server, store: Store, tmp_path: Path) -> None:
    data = os.urandom(1000)
    item = Download(store.root, put(store, "x", data), tmp_path / "x", digest(data), len(data))
    download([item], scratch=tmp_path / "scratch")
    server.object("models", item.key).write_bytes(bytes(1000))
    download([item], scratch=tmp_path / "scratch")
    assert item.target.read_bytes() == data


@pytest.mark.parametrize("spoilt", [b"short", bytes(1000)])
def test_a_spoilt_file_is_replaced(store: Store, tmp_path: Path, spoilt: bytes) -> None:
    data = os.urandom(1000)
    item = Download(store.root, put(store, "x", data), tmp_path / "x", digest(data), len(data))
    item.target.write_bytes(spoilt)
    download([item], scratch=tmp_path / "scratch")
    assert item.target.read_bytes() == data


@pytest.mark.parametrize("change", [lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: data[:-1]])
def test_bytes_changed_in_storage_are_found(
    server: Server, store: Store, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    good, bad = os.urandom(100_000), os.urandom(100_000)
    items = [
        Download(store.root, put(store, name, data), tmp_path / name, digest(data), len(data))
        for name, data in (("good", good), ("bad", bad))
    ]
    server.object("models", items[1].key).write_bytes(change(bad))
    with pytest.raises(FaultError, match="/bad") as caught:
        download(items, scratch=tmp_path / "scratch", part_size=10_000)
    assert caught.value.fault.code is Reason.STORAGE_CORRUPT
    assert not items[1].target.exists()
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 3 * PART + 17])
def test_uploads_of_any_size(store: Store, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    key = store.key("uploaded")
    with (tmp_path / "file").open("rb") as file:
        upload_file(store.root, key, descriptor=file.fileno(), size=size, part_size=PART)
    assert store.root.get(key) == data


def test_a_failed_upload_leaves_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(2 * PART))
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        upload_file(store.root, store.key("x"), descriptor=descriptor, size=2 * PART, part_size=PART)
    assert store.root.head(store.key("x")) is None
    assert isinstance(store.root, Bucket)
    assert "Uploads" not in store.root.client.list_multipart_uploads(
        Bucket=store.root.name, Prefix=store.key("x")
    )


def origin(store: Store, data: bytes, *, secret_name: str | None = None) -> Origin:
    key = put(store, "origin", data)
    info = store.root.head(key)
    assert info is not None
    bucket = store.source_bucket("models", secret_name=secret_name, source_field="spec.models[0].files")
    return Origin(bucket, key, len(data), digest(data), info.etag, info.version_id)


@pytest.mark.parametrize("limit", [1 << 30, 1])
def test_copies_inside_the_server(store: Store, limit: int) -> None:
    data = os.urandom(2 * PART + 5)
    copy(origin(store, data), store.root, store.key("copied"), limit=limit, part=PART)
    assert store.root.get(store.key("copied")) == data


@pytest.mark.parametrize("limit", [1 << 30, 1])
def test_a_replaced_origin_is_not_copied(store: Store, limit: int) -> None:
    pinned = origin(store, os.urandom(PART + 1))
    put(store, "origin", os.urandom(PART + 1))
    with pytest.raises(FaultError, match="was replaced") as caught:
        copy(pinned, store.root, store.key("copied"), limit=limit, part=PART)
    assert caught.value.fault.code is Reason.DIGEST_MISMATCH
    assert store.root.get(store.key("copied")) is None


def test_a_missing_origin_is_named(store: Store) -> None:
    pinned = origin(store, b"x")
    store.root.delete(pinned.key)
    with pytest.raises(FaultError, match="/origin") as caught:
        copy(pinned, store.root, store.key("copied"))
    assert caught.value.fault.code is Reason.SOURCE_MISSING
    assert caught.value.fault.field == "spec.models[0].files.uri"


@pytest.fixture
def two_keys(location: StorageLocation) -> Store:
    environ = KEYS | {credentials_prefix("theirs") + name: value for name, value in KEYS.items()}
    return Store(location, environ=environ, patience=QUICK)


@pytest.mark.parametrize("size", [10, 20 << 20])
def test_other_keys_make_the_bytes_pass_through(two_keys: Store, size: int) -> None:
    data = os.urandom(size)
    copy(origin(two_keys, data, secret_name="theirs"), two_keys.root, two_keys.key("copied"))
    assert two_keys.root.get(two_keys.key("copied")) == data


@pytest.mark.parametrize("size", [10, 20 << 20])
def test_bytes_passing_through_are_checked(server: Server, two_keys: Store, size: int) -> None:
    pinned = origin(two_keys, os.urandom(size), secret_name="theirs")
    server.object("models", pinned.key).write_bytes(os.urandom(size))
    with pytest.raises(FaultError) as caught:
        copy(pinned, two_keys.root, two_keys.key("copied"))
    assert caught.value.fault.code in {Reason.STORAGE_CORRUPT, Reason.DIGEST_MISMATCH}
    assert two_keys.root.get(two_keys.key("copied")) is None
