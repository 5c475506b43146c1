"""The real S3 server that the tests run against: versitygw over a folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ensemble_builder.storage.retry import Patience
from tests.ports import free_port

ACCESS_KEY, SECRET_KEY = "test-access", "test-secret"
KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
QUICK = Patience(budget=3.0, connect=1.0, read=1.0, first_pause=0.05, longest_pause=0.2)


@dataclass(frozen=True)
class Server:
    """A running versitygw; `folder` holds its buckets as folders."""

    port: int
    folder: Path

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def object(self, bucket: str, key: str) -> Path:
        return self.folder / bucket / key


def find_versitygw() -> Path:
    """The real S3 server: from the environment, PATH, or the cache of tests/cluster."""
    if given := os.environ.get("ENSEMBLES_VERSITYGW"):
        return Path(given)
    if found := shutil.which("versitygw"):
        return Path(found)
    cache = Path(os.environ.get("ENSEMBLES_CACHE", Path.home() / ".cache/ensembles-cluster"))
    if os.access(built := cache / "bin" / "versitygw", os.X_OK):
        return built
    pytest.fail(
        "these tests need the real S3 server versitygw: run `python3 tests/cluster/cluster.py build`, put it "
        "on PATH, or name it in ENSEMBLES_VERSITYGW"
    )


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the server ended at once:\n{log.read_text()}")
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"the server opened no port:\n{log.read_text()}")


@contextmanager
def versitygw(folder: Path, log: Path, *options: str) -> Iterator[Server]:
    """Serve a folder of buckets on 127.0.0.1."""
    port = free_port()
    arguments = [str(find_versitygw()), "--port", f"127.0.0.1:{port}", "--access", ACCESS_KEY]
    arguments += ["--secret", SECRET_KEY, *options, "posix", str(folder)]
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output)
    try:
        wait_for_port(port, process, log)
        yield Server(port, folder)
    finally:
        process.terminate()
        process.wait(10)
