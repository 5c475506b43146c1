"""PyTorch for the CPU, taken from Debian's packages into a folder of its own.

PyTorch's wheels for x86-64 on the Python Package Index bring gigabytes of CUDA; Debian's python3-torch is
260 MB with all that it needs, C library included. Nothing is installed: apt downloads and verifies the
packages, they are unpacked, run by their own dynamic loader and deleted again. Root is not needed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from preparation.cache import cache_folder, say

PACKAGES = ("python3-torch", "python3-numpy")


class NoDebianError(Exception):
    """This machine has no apt, or its package sources have no PyTorch."""


@dataclass(frozen=True)
class DebianPython:
    """An unpacked Debian with Python and PyTorch."""

    root: Path

    def run(self, arguments: Sequence[str | Path]) -> None:
        """Runs this Python with the arguments.

        Raises:
            subprocess.CalledProcessError: it ended with another status than 0.
        """
        loader = next(self.root.glob("lib*/ld-linux-*.so.*"))
        folders = {file.parent for tree in ("lib", "usr/lib") for file in (self.root / tree).rglob("*.so.*")}
        python = next(self.root.glob("usr/bin/python3.*[0-9]"))
        libraries = ":".join(str(folder) for folder in sorted(folders))
        subprocess.run(
            [loader, "--library-path", libraries, python, *arguments],
            check=True,
            env={"PYTHONHOME": str(self.root / "usr"), "PYTHONDONTWRITEBYTECODE": "1"},
        )


@contextmanager
def debian_python() -> Iterator[DebianPython]:
    """A Debian Python with PyTorch, for the time of the `with` block.

    Raises:
        NoDebianError: see there.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise NoDebianError("the export needs Debian's PyTorch: run it on Debian, or in a container of it")
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=".debian-") as folder:
        work = Path(folder)
        started = time.monotonic()
        archives = _download(work)
        say(f"PyTorch from {len(archives)} Debian packages: downloaded in {time.monotonic() - started:.1f} s")
        started = time.monotonic()
        root = work / "root"
        root.mkdir()
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(_unpack, root), archives))
        say(f"unpacked in {time.monotonic() - started:.1f} s")
        yield DebianPython(root)


def _download(work: Path) -> list[Path]:
    """Archives of PACKAGES and all that they depend on, as if nothing were installed."""
    cache = work / "cache"
    (cache / "archives" / "partial").mkdir(parents=True)
    private = [
        "-o", "Dir::State::status=/dev/null",
        "-o", f"Dir::Cache={cache}",
        "-o", "Debug::NoLocking=1",
        "-o", "APT::Sandbox::User=",
    ]  # fmt: skip
    install = ["install", "--download-only", "--no-install-recommends", "--yes", "-qq", *PACKAGES]
    if _apt([*private, *install]) is not None:
        # A fresh machine or container has no package lists yet.
        lists = work / "lists"
        (lists / "partial").mkdir(parents=True)
        private += ["-o", f"Dir::State::lists={lists}"]
        for arguments in (["update", "-qq"], install):
            if error := _apt([*private, *arguments]):
                raise NoDebianError(f"apt-get {arguments[0]} {' '.join(PACKAGES)} failed: {error}")
    return sorted((cache / "archives").glob("*.deb"))


def _unpack(root: Path, archive: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", archive, root], check=True)


def _apt(arguments: Sequence[str]) -> str | None:
    """The end of what apt-get complained of, or None where it succeeded."""
    result = subprocess.run(["apt-get", *arguments], check=False, capture_output=True, text=True)
    return None if result.returncode == 0 else (result.stderr.strip()[-500:] or f"status {result.returncode}")
