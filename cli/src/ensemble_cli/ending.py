"""Being told to end, by ctrl-C, SIGTERM or a closed terminal: nothing is left running, and no scratch folder.

KeyboardInterrupt ends a command in order. Threads that read from a storage which does not answer would hold
it up for minutes: patience is short, and ends with the second time at once.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ensemble_cli.exits import Exit

PATIENCE_SECONDS = 3.0

_folders: set[Path] = set()
_told = threading.Event()


def ending_signals() -> tuple[signal.Signals, ...]:
    """The signals that tell us to end, but for those that who started us has turned off, as nohup does."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return tuple(number for number in signals if signal.getsignal(number) is not signal.SIG_IGN)


def listen() -> None:
    for number in ending_signals():
        signal.signal(number, _on_signal)


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A temporary folder that is gone afterwards, however this program ends, but for SIGKILL."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _folders.add(folder)
        try:
            yield folder
        finally:
            _folders.discard(folder)


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    if _told.is_set():
        _end_at_once()
    _told.set()
    hurry = threading.Timer(PATIENCE_SECONDS, _end_at_once)
    hurry.daemon = True
    hurry.start()
    raise KeyboardInterrupt


def _end_at_once() -> None:
    for folder in tuple(_folders):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(Exit.INTERRUPTED)
