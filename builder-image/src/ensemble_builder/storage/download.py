"""Parallel downloads: many files and many parts of one file at a time, every byte checked."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from ensemble_builder.faults import FaultError
from ensemble_builder.storage.bucket import CHUNK
from ensemble_builder.storage.folder import AnyBucket
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason

WORKERS = 16
PART_SIZE = 16 << 20


@dataclass(frozen=True)
class Download:
    """One object and the file it becomes: `target` appears only when whole and checked."""

    bucket: AnyBucket
    key: str
    target: Path
    sha256: str
    size: int
    mode: int = 0o644
    etag: str = ""
    version_id: str = ""


def download(
    items: Sequence[Download], *, scratch: Path, workers: int = WORKERS, part_size: int = PART_SIZE
) -> None:
    """Fetch all items.

    Args:
        items: what to fetch; targets that are there already with the right bytes are kept.
        scratch: folder on the targets' file system for unfinished files; made and removed here.
        workers: requests at a time.
        part_size: bytes of one request.

    Raises:
        FaultError: StorageCorrupt where bytes differ from their digest after a second read; else as Bucket.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    files = [_Partial(item, scratch / f"{number:06d}") for number, item in enumerate(items)]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="download")
    try:
        ready = pool.map(_Partial.is_there, files)
        missing = [file for file, there in zip(files, ready, strict=True) if not there]
        tasks = [
            pool.submit(file.fetch, start, min(start + part_size, file.item.size))
            for file in missing
            for start in file.begin(part_size)
        ]
        done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for file in files:
            file.path.unlink(missing_ok=True)
        scratch.rmdir()


class _Partial:
    """A file on its way; the worker that brings the last part checks and places it."""

    def __init__(self, item: Download, path: Path) -> None:
        self.item = item
        self.path = path
        self._left = 0
        self._lock = threading.Lock()

    def is_there(self) -> bool:
        target = self.item.target
        if target.is_symlink() or not target.is_file() or target.stat().st_size != self.item.size:
            return False
        if file_digest(target) != self.item.sha256:
            return False
        target.chmod(self.item.mode)
        return True

    def begin(self, part_size: int) -> range:
        """Make the empty file; the offsets at which its parts begin (one part for an empty file)."""
        with self.path.open("wb") as file:
            file.truncate(self.item.size)
        starts = range(0, max(self.item.size, 1), part_size)
        self._left = len(starts)
        return starts

    def fetch(self, start: int, end: int) -> None:
        self._read(start, end)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._finish()

    def _read(self, start: int, end: int) -> None:
        item = self.item
        with self.path.open("r+b") as file:
            at = start
            for chunk in item.bucket.stream(
                item.key, start=start, end=end, etag=item.etag, version_id=item.version_id
            ):
                at += os.pwrite(file.fileno(), chunk, at)

    def _finish(self) -> None:
        item = self.item
        found = file_digest(self.path)
        if found != item.sha256:
            # Once more: bytes can change on the way as well as in the store.
            self._read(0, item.size)
            found = file_digest(self.path)
        if found != item.sha256:
            message = f"{item.bucket.access.uri(item.key)} has sha256 {found} instead of {item.sha256}"
            raise FaultError(
                Fault(code=Reason.STORAGE_CORRUPT, field=item.bucket.access.uri_field, message=message)
            )
        item.target.parent.mkdir(parents=True, exist_ok=True)
        self.path.chmod(item.mode)
        self.path.replace(item.target)


def file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
