"""The files below a folder, links followed as `aws s3 cp` and tritonserver do."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ensemble_cli.moving.found import Trouble

Id = tuple[int, int]
"""Device and inode."""


@dataclass
class Walk:
    """Fills `files`, paths below `root`, and `troubles`: what is there and cannot be taken."""

    root: Path
    files: list[str] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)

    def into(self, folder: Path, around: tuple[Id, ...] = ()) -> None:
        """Take the files of a folder; `around` are the folders on the way to it."""
        try:
            here = folder.stat()
            paths = sorted(folder.iterdir())
        except OSError as error:
            self._refuse(folder, f"cannot be read ({error.strerror}): mend its rights")
            return
        own = (here.st_dev, here.st_ino)
        if own in around:
            self._refuse(folder, "is a link to a folder around it: remove the link")
            return
        for path in paths:
            self._take(path, (*around, own))

    def _take(self, path: Path, around: tuple[Id, ...]) -> None:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            self._refuse(path, f"cannot be read ({error.strerror}): mend or remove it")
            return
        if not _is_text(path.name):
            self._refuse(path, "has a name that is not UTF-8, as names of objects are: rename it")
        elif stat.S_ISDIR(mode):
            self.into(path, around)
        elif not stat.S_ISREG(mode):
            self._refuse(path, "is neither a file nor a folder: remove it")
        elif not os.access(path, os.R_OK):
            self._refuse(path, "cannot be read (Permission denied): mend its rights")
        else:
            self.files.append(path.relative_to(self.root).as_posix())

    def _refuse(self, path: Path, message: str) -> None:
        self.troubles.append(Trouble(path, message))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
