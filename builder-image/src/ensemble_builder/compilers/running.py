"""Marks a build folder as being worked in, for the container that waits for compile's end."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "compiling"


@contextmanager
def compiling(work: Path) -> Iterator[None]:
    """Hold the lock of `work`. It is the kernel's: a killed process holds none."""
    with (work / LOCK).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
