from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble_builder.storage.store import Store
from ensembles_api.contract import StorageLocation
from tests.storage.support.s3server import KEYS, QUICK, Server, versitygw
from tests.storage.support.workbench import Workbench


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("s3")
    for bucket in ("models", "other"):
        (base / "buckets" / bucket).mkdir(parents=True)
    with versitygw(base / "buckets", base / "log") as running:
        yield running


@pytest.fixture
def location(server: Server, request: pytest.FixtureRequest) -> StorageLocation:
    """A root of its own for every test."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:60]
    return StorageLocation(uri=f"s3://models/{name}-{time.monotonic_ns()}", endpoint=server.endpoint)


@pytest.fixture
def store(location: StorageLocation) -> Store:
    return Store(location, environ=KEYS, patience=QUICK)


@pytest.fixture
def bench(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return Workbench(store, tmp_path)
