"""keep: saves what a stopped build has measured. It runs beside compile, with keys, until it is stopped.

A pod that is deleted, evicted or preempted gets SIGTERM in all its containers at once. compile then ends its
build and leaves the timing cache; upload never starts. This container waits for compile's end and saves the
cache, so that the next attempt does not begin at nothing.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from pathlib import Path

from ensemble_builder.commands import timing_caches
from ensemble_builder.commands.locks import OrderedBuild
from ensemble_builder.compilers.work_folder import LOCK, OUTPUTS
from ensembles_api.contract import Result

PAUSE = 0.1
MARGIN = 8.0
"""Seconds of the grace period left for writing the cache."""


def run(build: OrderedBuild, *, wait: Callable[[], object], grace: float) -> Result:
    """Wait to be stopped, then for compile's end, and save the timing cache.

    Args:
        build: the one that compile is at.
        wait: returns at SIGTERM.
        grace: seconds between SIGTERM and SIGKILL.
    """
    folder = timing_caches.folder_of(*build.look_up())
    wait()
    deadline = time.monotonic() + max(grace - MARGIN, 0)
    while _is_compiling(build.work) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    # Where upload has run, it is there already; where compile ran out of memory at the end, upload has not.
    timing_caches.keep(build.store, folder, out=build.work / OUTPUTS)
    return Result(lock=build.lock_digest)


def _is_compiling(work: Path) -> bool:
    """Whether compile holds its lock, which the kernel takes from it however it ends."""
    try:
        with (work / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
