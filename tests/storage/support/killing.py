"""Commands killed while the storage is silent."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections.abc import Sequence

from tests.storage.support.faultproxy import FaultProxy, Trouble


def kill_after(proxy: FaultProxy, arguments: Sequence[str], *, requests: int) -> None:
    """Run a command whose storage falls silent after so many requests, and kill it then."""
    seen = itertools.count(1)
    silent = threading.Event()

    def next_trouble() -> Trouble:
        if next(seen) <= requests:
            return Trouble.NONE
        silent.set()
        return Trouble.HANG

    proxy.next_trouble = next_trouble  # type: ignore[method-assign]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert silent.wait(120)
    process.kill()
    process.wait()
    del proxy.next_trouble
