"""Opens what compile left behind without trusting it: user code ran there.

Only names that the result states are opened, below out/, never through a symbolic link, and only regular
files.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ensemble_builder.artifacts.layout import is_safe
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason

CHUNK = 1 << 20
RESULT_LIMIT = 4 << 20
"""Bytes of result.json."""
FILE_LIMIT = 64 << 30
"""Bytes of one built file."""


@dataclass(frozen=True)
class OpenFile:
    descriptor: int
    size: int

    def sha256(self) -> str:
        digest = hashlib.sha256()
        at = 0
        while chunk := os.pread(self.descriptor, min(CHUNK, self.size - at), at) if at < self.size else b"":
            digest.update(chunk)
            at += len(chunk)
        return digest.hexdigest()


@contextmanager
def open_output(folder: Path, path: str, *, limit: int = FILE_LIMIT) -> Iterator[OpenFile]:
    """A file below `folder`, opened component by component.

    Raises:
        FaultError: CompileFailed where it is absent, no regular file, behind a link, or larger than `limit`.
    """
    if not is_safe(path):
        raise _refused(path, "the name leaves the folder")
    *folders, name = path.split("/")
    opened: list[int] = []
    try:
        try:
            at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            opened.append(at)
            for part in folders:
                at = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                opened.append(at)
            # O_NONBLOCK: opening a named pipe would wait for a writer.
            at = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
            opened.append(at)
        except OSError as error:
            raise _refused(path, error.strerror or str(error)) from error
        found = os.fstat(at)
        if not stat.S_ISREG(found.st_mode):
            raise _refused(path, "it is no regular file")
        if found.st_size > limit:
            raise _refused(path, f"it has {found.st_size} bytes, more than {limit}")
        yield OpenFile(at, found.st_size)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def read_output(folder: Path, path: str, *, limit: int = RESULT_LIMIT) -> bytes:
    with open_output(folder, path, limit=limit) as file:
        return os.pread(file.descriptor, file.size, 0)


def _refused(path: str, why: str) -> FaultError:
    message = f"no usable {path!r} was left behind: {why}"
    return FaultError(Fault(code=Reason.COMPILE_FAILED, message=message))
