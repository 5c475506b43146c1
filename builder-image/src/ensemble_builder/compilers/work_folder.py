"""The folder of a build, which its containers share: what lies where, and who is at work there."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ORDER = "order.json"
INPUTS = "in"
OUTPUTS = "out"
RESULT = "result.json"
"""Below out/: what compile leaves last."""
BUILT = "built"
RECORD = "record.json"
"""Of the artifact in built/, which only has to be proven."""
LOCK = "compiling"
"""Held by compile."""
TIMING_CACHES = "timing-caches"
"""Folder of earlier builds' caches, each named by its digest."""
TIMING_CACHE = "timing.cache"
"""Below out/: what this build has measured, and the earlier ones that it was given."""


@contextmanager
def compiling(work: Path) -> Iterator[None]:
    """Hold the lock of `work`. It is the kernel's: a killed process holds none."""
    with (work / LOCK).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
