"""Local folders behind the interface of a bucket: storage and sources of builds without a cluster."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeAlias

from ensemble_builder.faults import FaultError
from ensemble_builder.storage.bucket import CHUNK, DOCUMENT_LIMIT, Bucket, ObjectInfo
from ensemble_builder.storage.errors import Access, replaced
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason

UNFINISHED = ".unfinished-"
"""Begins the names of files being written; such a file is no object."""


@dataclass(frozen=True)
class Mount:
    """Keys that begin with `prefix` (empty, or ending in a slash) are files below `folder`; the one key that
    is `prefix` is the file `folder`.
    """

    prefix: str
    folder: Path


@dataclass(frozen=True)
class FolderBucket:
    """Folders seen as one bucket, with the methods of `Bucket`. Every method raises FaultError."""

    name: str
    access: Access
    mounts: tuple[Mount, ...]

    def head(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        try:
            return _info(key, path.stat()) if path and path.is_file() else None
        except OSError as error:
            raise self._fault(key, error) from error

    def get(self, key: str, *, limit: int = DOCUMENT_LIMIT) -> bytes | None:
        info = self.head(key)
        if info is None:
            return None
        if info.size > limit:
            message = f"{self.access.uri(key)} has {info.size} bytes, more than {limit}"
            raise FaultError(Fault(code=Reason.INVALID_SPEC, field=self.access.uri_field, message=message))
        return b"".join(self.stream(key, end=info.size))

    def stream(
        self, key: str, *, start: int = 0, end: int, etag: str = "", version_id: str = ""
    ) -> Iterator[bytes]:
        """Bytes [start, end) of a file; with `etag`, one that was changed since is refused."""
        del version_id  # folders have none
        info, path = self.head(key), self._path(key)
        if info is None or path is None:
            message = f"{self.access.uri(key)} does not exist"
            raise FaultError(Fault(code=Reason.SOURCE_MISSING, field=self.access.uri_field, message=message))
        if etag and info.etag != etag:
            raise replaced(self.access, key)
        if info.size < end:
            message = f"{self.access.uri(key)} ends at byte {info.size} instead of {end}"
            raise FaultError(Fault(code=Reason.STORAGE_CORRUPT, field=self.access.uri_field, message=message))
        try:
            with path.open("rb") as file:
                file.seek(start)
                left = end - start
                while left and (chunk := file.read(min(CHUNK, left))):
                    left -= len(chunk)
                    yield chunk
        except OSError as error:
            raise self._fault(key, error) from error

    def put(self, key: str, data: bytes) -> None:
        self.write(key, [data])

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write unless the key exists; True where this call wrote it."""
        return self.write(key, [data], replace=False)

    def write(self, key: str, blocks: Iterable[bytes], *, replace: bool = True) -> bool:
        """The file appears only when whole: nothing does where `blocks` raises.

        Returns:
            False where the file is there and `replace` is not set.
        """
        path = self._path(key)
        if path is None:
            raise self._fault(key, OSError(None, "it lies in none of the given folders"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.writelines(blocks)
                Path(draft).chmod(0o644)
                return _place(Path(draft), path, replace=replace)
            finally:
                Path(draft).unlink(missing_ok=True)
        except OSError as error:
            raise self._fault(key, error) from error

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Files below a prefix in key order."""
        base = prefix[: prefix.rfind("/") + 1]
        folder = self._path(base)
        if folder is None:
            return
        try:
            found = [
                _info(key, path.stat())
                for path in _files(folder)
                if (key := f"{base}{path.relative_to(folder).as_posix()}").startswith(prefix)
            ]
        except OSError as error:
            raise self._fault(prefix, error) from error
        yield from sorted(found, key=lambda info: info.key)

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            if path:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise self._fault(key, error) from error

    def _path(self, key: str) -> Path | None:
        """The file of a key; None where no mount holds it, or it would leave its folder."""
        fitting = [mount for mount in self.mounts if key.startswith(mount.prefix)]
        if not fitting:
            return None
        mount = max(fitting, key=lambda found: len(found.prefix))
        rest = key[len(mount.prefix) :]
        return None if ".." in rest.split("/") else mount.folder / rest

    def _fault(self, key: str, error: OSError) -> FaultError:
        message = f"{self.access.uri(key)}: {error.strerror or error}"
        return FaultError(
            Fault(code=Reason.STORAGE_UNAVAILABLE, field=self.access.uri_field, message=message)
        )


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; none where there is no such folder. Links are followed, as an upload would,
    but for those to a folder around them.
    """

    def refused(error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise error

    for at, folders, names in os.walk(folder, onerror=refused, followlinks=True):
        here = Path(at).resolve()
        folders[:] = [name for name in folders if not here.is_relative_to((here / name).resolve())]
        for name in names:
            path = Path(at, name)
            if not name.startswith(UNFINISHED) and path.is_file():
                yield path


AnyBucket: TypeAlias = Bucket | FolderBucket


def _place(draft: Path, path: Path, *, replace: bool) -> bool:
    if replace:
        draft.replace(path)
        return True
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    return True


def _info(key: str, found: os.stat_result) -> ObjectInfo:
    etag = f'"{found.st_mtime_ns:x}-{found.st_ino:x}"'
    modified = datetime.fromtimestamp(found.st_mtime, tz=timezone.utc)
    return ObjectInfo(key, found.st_size, etag, modified=modified)
