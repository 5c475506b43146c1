"""The real server behind a bad network: what is retried, for how long, and what the fault says at the end."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ensemble_builder.artifacts.documents import sha256
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.copying import Origin, copy
from ensemble_builder.storage.download import Download, download
from ensemble_builder.storage.store import Store
from ensembles_api.contract import StorageLocation
from ensembles_api.reasons import Reason
from tests.ports import free_port
from tests.storage.support.faultproxy import FaultProxy, Trouble, fault_proxy
from tests.storage.support.s3server import KEYS, QUICK, Server, versitygw
from tests.storage.support.workbench import Workbench

pytestmark = pytest.mark.s3
DATA = os.urandom(300_000)


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    with fault_proxy(("127.0.0.1", server.port)) as running:
        yield running


@pytest.fixture
def troubled(proxy: FaultProxy, location: StorageLocation, store: Store) -> Store:
    """The test's storage through the proxy, with one object in it."""
    store.root.put(store.key("object"), DATA)
    return Store(location.model_copy(update={"endpoint": proxy.endpoint}), environ=KEYS, patience=QUICK)


def fetch(store: Store, to: Path, digest: str = sha256(DATA)) -> bytes:
    item = Download(store.root, store.key("object"), to / "file", digest, len(DATA))
    download([item], scratch=to / "scratch", part_size=100_000)
    return item.target.read_bytes()


@pytest.mark.parametrize(
    "trouble", [Trouble.HANG, Trouble.CLOSE, Trouble.BUSY, Trouble.BROKEN, Trouble.TRUNCATE, Trouble.CORRUPT]
)
def test_passing_trouble_is_overcome(
    proxy: FaultProxy, troubled: Store, tmp_path: Path, trouble: Trouble
) -> None:
    proxy.befall(trouble, times=2)
    assert fetch(troubled, tmp_path) == DATA
    assert proxy.seen > 3, "the trouble was met"


@pytest.mark.parametrize("trouble", [Trouble.HANG, Trouble.CLOSE, Trouble.BUSY, Trouble.BROKEN])
def test_lasting_trouble_ends_within_the_budget(proxy: FaultProxy, troubled: Store, trouble: Trouble) -> None:
    proxy.befall(trouble)
    begin = time.monotonic()
    with pytest.raises(FaultError) as caught:
        troubled.root.get(troubled.key("object"))
    assert time.monotonic() - begin < QUICK.budget + QUICK.read + 5
    fault = caught.value.fault
    assert fault.code is Reason.STORAGE_UNAVAILABLE
    assert fault.field == "spec.storage.endpoint"
    assert proxy.endpoint in fault.message
    assert proxy.seen > 1, "it was tried again"


def test_nobody_listening_is_said_quickly(location: StorageLocation) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = Store(location.model_copy(update={"endpoint": endpoint}), environ=KEYS, patience=QUICK)
    with pytest.raises(FaultError, match="EndpointConnectionError") as caught:
        store.root.get("x")
    assert caught.value.fault.code is Reason.STORAGE_UNAVAILABLE


def test_an_unknown_host_is_said(location: StorageLocation) -> None:
    endpoint = "http://no-such-host.invalid:9000"
    store = Store(location.model_copy(update={"endpoint": endpoint}), environ=KEYS, patience=QUICK)
    with pytest.raises(FaultError, match=r"no-such-host\.invalid") as caught:
        store.root.put("x", b"")
    assert caught.value.fault.code is Reason.STORAGE_UNAVAILABLE


def test_a_slow_transfer_may_take_longer_than_the_budget(
    proxy: FaultProxy, troubled: Store, tmp_path: Path
) -> None:
    proxy.befall(Trouble.SLOW)
    hasty = dataclasses.replace(troubled, patience=dataclasses.replace(QUICK, budget=0.3), _clients={})
    assert fetch(hasty, tmp_path) == DATA


def test_lasting_corruption_is_named(proxy: FaultProxy, troubled: Store, tmp_path: Path) -> None:
    proxy.befall(Trouble.CORRUPT)
    with pytest.raises(FaultError, match="instead of") as caught:
        fetch(troubled, tmp_path)
    fault = caught.value.fault
    assert fault.code is Reason.STORAGE_CORRUPT
    assert "object" in fault.message
    assert not (tmp_path / "file").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_is_cut_every_time_still_arrives(
    proxy: FaultProxy, troubled: Store, tmp_path: Path
) -> None:
    """Each attempt brings half of what is left: what has arrived is not read again."""
    proxy.befall(Trouble.TRUNCATE)
    assert fetch(troubled, tmp_path) == DATA


@pytest.mark.parametrize("trouble", [Trouble.CLOSE, Trouble.BUSY, Trouble.HANG])
def test_writing_is_tried_again(proxy: FaultProxy, troubled: Store, store: Store, trouble: Trouble) -> None:
    key = troubled.key(f"written-{trouble.name}")
    proxy.befall(trouble, times=1)
    troubled.root.put(key, DATA)
    assert store.root.get(key) == DATA


def test_a_server_without_conditional_writes_is_asked_first(proxy: FaultProxy, troubled: Store) -> None:
    proxy.befall(Trouble.NO_CONDITIONS)
    key = troubled.key("record")
    assert troubled.root.put_if_absent(key, b"first")
    assert not troubled.root.put_if_absent(key, b"second")
    assert troubled.root.get(key) == b"first"


@pytest.mark.parametrize("limit", [1 << 30, 1])
def test_a_server_that_cannot_copy_is_spared(proxy: FaultProxy, troubled: Store, limit: int) -> None:
    proxy.befall(Trouble.NO_COPY)
    pinned = troubled.root.head(troubled.key("object"))
    assert pinned is not None
    origin = Origin(troubled.root, pinned.key, pinned.size, sha256(DATA), pinned.etag)
    copy(origin, troubled.root, troubled.key("copied"), limit=limit)
    assert troubled.root.get(troubled.key("copied")) == DATA


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """An S3 server whose certificate no public authority has signed, and that certificate."""
    base = tmp_path_factory.mktemp("tls")
    (base / "buckets/models").mkdir(parents=True)
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    files = ["-keyout", str(base / "key.pem"), "-out", str(base / "cert.pem")]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *subject]
    subprocess.run(make, check=True, capture_output=True)
    options = ["--cert", str(base / "cert.pem"), "--key", str(base / "key.pem")]
    with versitygw(base / "buckets", base / "log", *options) as running:
        yield running, base / "cert.pem"


def test_a_private_authority_is_believed_where_it_is_given(
    certified: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, certificate = certified
    location = StorageLocation(uri="s3://models/x", endpoint=f"https://127.0.0.1:{server.port}")
    with pytest.raises(FaultError, match="caConfigMap") as caught:
        Store(location, environ=KEYS, patience=QUICK).root.put("x/y", b"z")
    assert caught.value.fault.code is Reason.STORAGE_UNAVAILABLE
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    store = Store(location, environ=KEYS, patience=QUICK)
    store.root.put("x/y", b"z")
    assert store.root.get("x/y") == b"z"


def table(uri: str) -> dict[str, Any]:
    tensor = {"data_type": "TYPE_FP32", "dims": [3]}
    io = {"input": [{"name": "x", **tensor}], "output": [{"name": "y", **tensor}]}
    return {"name": "table", "files": {"uri": uri}, "config": {"backend": "identity", **io}}


def test_a_source_read_wrongly_is_not_pinned(
    proxy: FaultProxy, server: Server, bench: Workbench, tmp_path: Path
) -> None:
    """The first reading has no digest to be checked against: the ETag, or a second reading, tells."""
    uri = bench.put("table/1/table.bin", DATA).removesuffix("1/table.bin")
    location = bench.store.location.model_copy(update={"endpoint": proxy.endpoint})
    troubled = Workbench(Store(location, environ=KEYS, patience=QUICK), tmp_path)
    request = troubled.request(table(uri))
    proxy.befall(Trouble.CORRUPT)
    found = troubled.assemble(request).fault
    assert found is not None
    assert found.code is Reason.STORAGE_CORRUPT
    assert "table.bin" in found.message
    proxy.befall(Trouble.NONE)
    files = troubled.published(troubled.assemble(request))
    assert files["models/table/1/table.bin"] == DATA


def test_one_wrong_reading_is_forgiven(
    proxy: FaultProxy, server: Server, bench: Workbench, tmp_path: Path
) -> None:
    bench.put("table/1/table.bin", DATA)
    location = bench.store.location.model_copy(update={"endpoint": proxy.endpoint})
    proxy.only = re.compile(rb"^GET .*table\.bin")
    proxy.befall(Trouble.CORRUPT, times=1)
    troubled = Workbench(Store(location, environ=KEYS, patience=QUICK), tmp_path)
    uri = bench.store.root.access.uri(bench.store.key("sources/table/"))
    files = troubled.published(troubled.assemble(troubled.request(table(uri))))
    assert files["models/table/1/table.bin"] == DATA
    assert proxy.times == 0, "the trouble was met"
