"""Transfer rates of `fetch` beside s5cmd's on the same S3 server: one run, in turn."""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from ensemble_builder.storage.download import Download, download
from ensemble_builder.storage.store import Store
from ensembles_api.contract import StorageLocation
from tests.e2e import live

MIB = 1 << 20
FILES = {"one of 512 MiB": [512 * MIB], "64 of 8 MiB": [8 * MIB] * 64}
ROUNDS = 3
S5CMD = ("github.com/peak/s5cmd/v2", "v2.3.0")


def report(space: live.Namespace) -> None:
    """Print the table; needs Go to build s5cmd where it is not on PATH."""
    s5cmd = shutil.which("s5cmd") or _build()
    print("MiB/s of reading, every byte checked against its sha256 by ours, median (least to most):\n")
    print("| files | ours | s5cmd | ours / s5cmd |")
    print("|---|---|---|---|")
    for name, sizes in FILES.items():
        ours, theirs = _measure(space, s5cmd, sizes)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"| {name} | {_spread(ours)} | {_spread(theirs)} | {ratio:.2f} |")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def _build() -> str:
    """As a dependency of a module of our own: `go install` asks for the list of versions, which not every
    module proxy gives.
    """
    folder = live.CACHE / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    module, version = S5CMD
    (folder / "go.mod").write_text(f"module bench\n\ngo 1.22\n\nrequire {module} {version}\n")
    environment = {**os.environ, "CGO_ENABLED": "0"}
    build = ["go", "build", "-mod=mod", "-o", "s5cmd", module]
    subprocess.run(build, check=True, env=environment, cwd=folder)
    return str(folder / "s5cmd")


def _measure(space: live.Namespace, s5cmd: str, sizes: list[int]) -> tuple[list[float], list[float]]:
    prefix = f"transfer-{len(sizes)}"
    digests = {}
    for index, size in enumerate(sizes):
        data = os.urandom(size)
        space.put(f"{prefix}/{index}.bin", data)
        digests[f"{prefix}/{index}.bin"] = (hashlib.sha256(data).hexdigest(), size)
    total = sum(sizes) / MIB
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(total / _ours(space, digests))
        theirs.append(total / _s5cmd(space, s5cmd, prefix))
    return ours, theirs


def _s5cmd(space: live.Namespace, s5cmd: str, prefix: str) -> float:
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": live.KEYS[0],
        "AWS_SECRET_ACCESS_KEY": live.KEYS[1],
        "AWS_REGION": "us-east-1",
    }
    source = f"s3://{live.BUCKET}/{space.name}/{prefix}/*"
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        command = [s5cmd, "--endpoint-url", live.s3_address(), "cp", source, f"{folder}/"]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        return time.monotonic() - start


def _ours(space: live.Namespace, digests: dict[str, tuple[str, int]]) -> float:
    """What the servers' init container does: parallel ranged reads, and the sha256 of every file."""
    os.environ.update(AWS_ACCESS_KEY_ID=live.KEYS[0], AWS_SECRET_ACCESS_KEY=live.KEYS[1])
    store = Store(StorageLocation(uri=f"s3://{live.BUCKET}/{space.name}", endpoint=live.s3_address()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = [
            Download(store.root, store.key(path), folder / str(index), sha256, size, 0o644)
            for index, (path, (sha256, size)) in enumerate(digests.items())
        ]
        start = time.monotonic()
        download(items, scratch=folder / "scratch")
        return time.monotonic() - start
