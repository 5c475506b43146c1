"""One readable line for each step, with its seconds, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


def say(text: str) -> None:
    stamp = time.strftime("%H:%M:%S", time.gmtime())
    print(f"{stamp} {text}", file=sys.stderr, flush=True)  # noqa: T201


@dataclass
class Step:
    """A step under way; `note` is said behind it when it ends."""

    note: str = ""


@contextmanager
def step(text: str) -> Iterator[Step]:
    """Say what was done and how long it took, also when it failed."""
    running = Step()
    begin = time.monotonic()
    try:
        yield running
    except BaseException:
        say(f"{text}: failed after {time.monotonic() - begin:.1f} s")
        raise
    note = f": {running.note}" if running.note else ""
    say(f"{text}{note} ({time.monotonic() - begin:.1f} s)")
