"""One bucket of the real server: conditions, errors, and what the field of each fault is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble_builder.faults import FaultError
from ensemble_builder.storage.bucket import Bucket
from ensemble_builder.storage.folder import AnyBucket
from ensemble_builder.storage.store import Store
from ensembles_api.contract import Fault, StorageLocation, credentials_prefix
from ensembles_api.reasons import Reason
from tests.storage.support.s3server import KEYS, QUICK, Server

pytestmark = pytest.mark.s3


def fault_of(caught: pytest.ExceptionInfo[FaultError]) -> Fault:
    return caught.value.fault


def test_written_bytes_come_back(store: Store) -> None:
    key = store.key("some/key")
    assert store.root.get(key) is None
    assert store.root.head(key) is None
    store.root.put(key, b"bytes")
    assert store.root.get(key) == b"bytes"
    found = store.root.head(key)
    assert found is not None
    assert found.size == 5


def test_only_the_first_write_if_absent_wins(store: Store) -> None:
    key = store.key("record")
    assert store.root.put_if_absent(key, b"first")
    assert not store.root.put_if_absent(key, b"second")
    assert store.root.get(key) == b"first"


def test_listing_goes_over_pages_and_leaves_out_folder_markers(server: Server, store: Store) -> None:
    names = [f"many/{number:04d}" for number in range(1005)]
    store.root.put(store.key("many/folder/"), b"")
    for name in names:
        server.object("models", store.key(name)).touch()
    assert [info.key for info in store.root.list(store.key("many/"))] == [store.key(name) for name in names]


def test_deleting_twice_is_fine(store: Store) -> None:
    key = store.key("gone")
    store.root.put(key, b"x")
    store.root.delete(key)
    store.root.delete(key)
    assert store.root.get(key) is None


def test_a_range_is_read_exactly(store: Store) -> None:
    key = store.key("range")
    store.root.put(key, bytes(range(100)))
    assert b"".join(store.root.stream(key, start=10, end=20)) == bytes(range(10, 20))


def test_a_replaced_object_is_refused(store: Store) -> None:
    key = store.key("pinned")
    store.root.put(key, b"old")
    pinned = store.root.head(key)
    assert pinned is not None
    store.root.put(key, b"new")
    with pytest.raises(FaultError, match="was replaced after it had been pinned") as caught:
        list(store.root.stream(key, end=3, etag=pinned.etag))
    assert fault_of(caught).code is Reason.DIGEST_MISMATCH


def test_an_object_shorter_than_known_is_corrupt(store: Store) -> None:
    key = store.key("short")
    store.root.put(key, b"12345")
    with pytest.raises(FaultError, match="ends at byte 5 instead of 9") as caught:
        list(store.root.stream(key, end=9))
    assert fault_of(caught).code is Reason.STORAGE_CORRUPT


def source_bucket(store: Store, name: str, secret_name: str | None = None) -> Bucket:
    return on_server(store.source_bucket(name, secret_name=secret_name, source_field="spec.models[3].files"))


def on_server(bucket: AnyBucket) -> Bucket:
    assert isinstance(bucket, Bucket)
    return bucket


def test_a_missing_bucket_is_named_whatever_is_asked(store: Store) -> None:
    bucket = source_bucket(store, "absent")
    for ask in (
        lambda: bucket.head("k"),
        lambda: bucket.get("k"),
        lambda: list(bucket.list("k/")),
        lambda: bucket.put("k", b""),
        lambda: list(bucket.stream("k", end=3)),
    ):
        with pytest.raises(FaultError, match="bucket 'absent' does not exist") as caught:
            ask()
        assert fault_of(caught).code is Reason.BUCKET_MISSING
        assert fault_of(caught).field == "spec.models[3].files.uri"


@pytest.mark.parametrize("name", ["Models_X", "a b"])
def test_what_cannot_be_a_bucket_is_the_users_to_mend(store: Store, name: str) -> None:
    with pytest.raises(FaultError, match="correct the uri") as caught:
        source_bucket(store, name).get("k")
    assert fault_of(caught).code is Reason.INVALID_SPEC
    assert fault_of(caught).field == "spec.models[3].files.uri"


@pytest.mark.parametrize(("name", "value"), [("region", "eu west"), ("endpoint", "http://")])
def test_what_no_client_takes_is_named(location: StorageLocation, name: str, value: str) -> None:
    with pytest.raises(FaultError, match="correct it") as caught:
        Store(location.model_copy(update={name: value}), environ=KEYS).root.get("k")
    assert fault_of(caught).code is Reason.INVALID_SPEC
    assert fault_of(caught).field == f"spec.storage.{name}"


def test_a_missing_object_is_named(store: Store) -> None:
    with pytest.raises(FaultError, match="s3://models/nothing/here") as caught:
        list(source_bucket(store, "models").stream("nothing/here", end=3))
    assert fault_of(caught).code is Reason.SOURCE_MISSING
    assert fault_of(caught).field == "spec.models[3].files.uri"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret access key is wrong"),
        ({"AWS_ACCESS_KEY_ID": "unknown"}, "does not know this access key id"),
    ],
)
def test_wrong_keys_name_the_secret(location: StorageLocation, changed: dict[str, str], said: str) -> None:
    store = Store(location, environ=KEYS | changed, patience=QUICK)
    with pytest.raises(FaultError, match=said) as caught:
        store.root.get(store.key("x"))
    assert fault_of(caught).code is Reason.ACCESS_DENIED
    assert fault_of(caught).field == "spec.storage.secretName"


def test_wrong_keys_are_not_tried_again(location: StorageLocation) -> None:
    store = Store(location, environ=KEYS | {"AWS_SECRET_ACCESS_KEY": "wrong"}, patience=QUICK)
    with pytest.raises(FaultError, match="refused") as caught:
        store.root.head(store.key("x"))
    assert fault_of(caught).code is Reason.ACCESS_DENIED


def test_no_keys_at_all_is_a_missing_secret(location: StorageLocation) -> None:
    with pytest.raises(FaultError, match="gives no keys") as caught:
        _ = Store(location, environ={}, patience=QUICK).root
    assert fault_of(caught).code is Reason.SECRET_MISSING


def test_a_source_has_keys_of_its_own(server: Server, location: StorageLocation) -> None:
    prefix = credentials_prefix("other-team")
    environ = KEYS | {prefix + name: value for name, value in KEYS.items()}
    server.object("other", "file").write_bytes(b"theirs")
    store = Store(location, environ=environ, patience=QUICK)
    bucket = source_bucket(store, "other", "other-team")
    assert bucket.get("file") == b"theirs"
    assert bucket.client is not on_server(store.root).client
    wrong = Store(location, environ=environ | {prefix + "AWS_SECRET_ACCESS_KEY": "x"}, patience=QUICK)
    with pytest.raises(FaultError) as caught:
        source_bucket(wrong, "other", "other-team").get("file")
    assert fault_of(caught).field == "spec.models[3].files.secretName"


@pytest.mark.parametrize("uri", ["http://x/y", "s3://", "models/x"])
def test_a_storage_uri_must_be_one(server: Server, uri: str) -> None:
    with pytest.raises(FaultError, match="no S3 location") as caught:
        _ = Store(StorageLocation(uri=uri, endpoint=server.endpoint), environ=KEYS).root
    assert fault_of(caught).field == "spec.storage.uri"


def test_an_identity_that_gets_no_keys_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A projected token is exchanged at the token service, which here is a port where nobody listens."""
    (tmp_path / "token").write_text("token")
    identity = {
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/models",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9",
    }
    for name, value in identity.items():
        monkeypatch.setenv(name, value)
    location = StorageLocation(uri="s3://models/x", endpoint=server.endpoint)
    store = Store(location, environ=identity, patience=QUICK)
    assert store.root.access.keys_field == "spec.storage.identity"
    with pytest.raises(FaultError, match=r"127\.0\.0\.1:9") as caught:
        store.root.get("x/y")
    assert fault_of(caught).code is Reason.STORAGE_UNAVAILABLE
