"""Local folders behave as buckets do (tests/storage asks the same of a real S3 server)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ensemble_builder.faults import FaultError
from ensemble_builder.storage.copying import Origin, copy
from ensemble_builder.storage.download import Download, download
from ensemble_builder.storage.folder import FolderBucket, Mount
from ensemble_builder.storage.store import Store
from ensemble_builder.storage.upload import upload_file
from ensembles_api.contract import StorageLocation
from ensembles_api.reasons import Reason


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "sources").mkdir()
    return Store(
        StorageLocation(uri=(tmp_path / "store").as_uri()),
        folders={"models": (Mount("src/", tmp_path / "sources"), Mount("one.txt", tmp_path / "one.txt"))},
        environ={},
    )


def source(store: Store) -> FolderBucket:
    bucket = store.source_bucket("models", secret_name=None, source_field="spec.models[0].files")
    assert isinstance(bucket, FolderBucket)
    return bucket


def code_of(action: Callable[[], object]) -> Reason:
    with pytest.raises(FaultError) as caught:
        action()
    return caught.value.fault.code


def test_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "my modèles 50%25"
    store = Store(StorageLocation(uri=folder.as_uri()), environ={})

    store.root.put(store.key("a"), b"first")

    assert (folder / "a").read_bytes() == b"first"


def test_objects(store: Store, tmp_path: Path) -> None:
    root, key = store.root, store.key("a/b")
    assert root.get(key) is None
    assert root.head(key) is None
    assert list(root.list(store.key(""))) == []
    assert root.put_if_absent(key, b"first")
    assert not root.put_if_absent(key, b"second")
    assert root.get(key) == b"first"
    root.put(key, b"third")
    root.put(store.key("a.txt"), b"")
    assert [info.key.removeprefix(store.prefix) for info in root.list(store.key("a"))] == ["a.txt", "a/b"]
    assert [info.size for info in root.list(store.key("a/"))] == [5]
    root.delete(key)
    root.delete(key)
    assert root.get(key) is None
    assert sorted(file.name for file in (tmp_path / "store").rglob("*")) == ["a", "a.txt"]


def test_what_is_read_is_what_was_pinned(store: Store) -> None:
    key = store.key("x")
    store.root.put(key, b"12345")
    pinned = store.root.head(key)
    assert pinned
    assert b"".join(store.root.stream(key, start=1, end=4, etag=pinned.etag)) == b"234"
    store.root.put(key, b"54321")
    assert code_of(lambda: list(store.root.stream(key, end=5, etag=pinned.etag))) is Reason.DIGEST_MISMATCH
    assert code_of(lambda: list(store.root.stream(key, end=9))) is Reason.STORAGE_CORRUPT
    assert code_of(lambda: list(store.root.stream(store.key("y"), end=9))) is Reason.SOURCE_MISSING


def test_sources_lie_in_the_given_folders_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "sources/net.onnx").write_bytes(b"net")
    (tmp_path / "one.txt").write_bytes(b"one")
    bucket = source(store)
    assert (bucket.get("src/net.onnx"), bucket.get("one.txt")) == (b"net", b"one")
    assert bucket.access.uri("src/net.onnx") == "s3://models/src/net.onnx"
    for outside in ("net.onnx", "src/../one.txt", "elsewhere/x"):
        assert bucket.get(outside) is None
    assert list(bucket.list("elsewhere/")) == []
    assert code_of(lambda: bucket.put("elsewhere/x", b"")) is Reason.STORAGE_UNAVAILABLE


def test_copies_uploads_and_downloads(store: Store, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / "sources/big").write_bytes(data)
    info = source(store).head("src/big")
    assert info
    sha256 = hashlib.sha256(data).hexdigest()
    copy(Origin(source(store), info.key, info.size, sha256, info.etag), store.root, store.key("copied"))
    with (tmp_path / "sources/big").open("rb") as file:
        upload_file(
            store.root, store.key("uploaded"), descriptor=file.fileno(), size=len(data), part_size=1000
        )
    for key in ("copied", "uploaded"):
        to = tmp_path / f"{key}.out"
        item = Download(store.root, store.key(key), to, sha256, len(data), mode=0o755)
        download([item], scratch=tmp_path / "scratch", part_size=1000)
        assert (to.read_bytes(), to.stat().st_mode & 0o777) == (data, 0o755)
    wrong = Origin(source(store), info.key, info.size, "0" * 64, info.etag)
    assert code_of(lambda: copy(wrong, store.root, store.key("wrong"))) is Reason.STORAGE_CORRUPT
    assert store.root.head(store.key("wrong")) is None


def test_nothing_half_written(store: Store, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    root = store.root
    assert isinstance(root, FolderBucket)
    with pytest.raises(KeyboardInterrupt):
        root.write(store.key("x"), broken())
    assert list((tmp_path / "store").iterdir()) == []


def test_the_disk_refuses(store: Store, tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file where the folder should be")
    assert code_of(lambda: store.root.put(store.key("x"), b"")) is Reason.STORAGE_UNAVAILABLE


def test_what_is_no_file_cannot_be_deleted_or_listed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "store/a").mkdir(parents=True)
    assert code_of(lambda: store.root.delete(store.key("a"))) is Reason.STORAGE_UNAVAILABLE
    assert code_of(lambda: list(store.root.list(store.key("x" * 300 + "/")))) is Reason.STORAGE_UNAVAILABLE


def test_links_are_followed_but_not_in_circles(store: Store, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/w.bin").write_bytes(b"w")
    (tmp_path / "sources/a").mkdir()
    (tmp_path / "sources/a/weights").symlink_to(tmp_path / "weights")
    (tmp_path / "sources/a/up").symlink_to("..")
    (tmp_path / "weights/self").symlink_to(".")
    (tmp_path / "sources/gone").symlink_to("nowhere")

    assert [info.key for info in source(store).list("src/")] == ["src/a/weights/w.bin"]
