from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble_builder.storage.store import Store
from ensembles_api.contract import StorageLocation

sys.path.insert(0, str(Path(__file__).parent / "support"))

from s3server import KEYS, QUICK, Server, versitygw


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
