"""SIGTERM while an engine is built: the build is told to end, and what it has measured is saved.

The builder runs on the main thread, in native code, where Python's signal handlers do not run: a thread waits
for the signal instead. From TensorRT 10 the builder asks its progress monitor whether to go on, and ends by
itself. Before, and where it takes too long, that thread saves the timing cache of the running builder and
ends the process: there is nothing left to lose.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

STOPPED = 128 + signal.SIGTERM
PATIENCE = 20.0
"""Seconds that a builder with a progress monitor is given to end the step it is at."""


def end_at_once() -> None:
    """For a process that has nothing to save: SIGTERM, which it began with blocked, ends it from now on."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


class Stop:
    """Waits for SIGTERM, which the process must have blocked since it began: no thread may lack that."""

    def __init__(self) -> None:
        self.event = threading.Event()
        """Set by the signal; a progress monitor reads it."""
        self._ended = threading.Event()
        self._saving = threading.Lock()
        self._save: Callable[[], None] | None = None
        self._patience = 0.0
        threading.Thread(target=self._wait, daemon=True).start()

    def building(self, save: Callable[[], None], *, heeds: bool) -> None:
        """A build begins; `save` writes its timing cache. `heeds`: it ends by itself once `event` is set."""
        self._save = save
        self._patience = PATIENCE if heeds else 0.0

    def built(self) -> None:
        """The build has ended, one way or the other. Does not return where it was told to."""
        self._ended.set()
        self._save_once()
        if self.event.is_set():
            os._exit(STOPPED)

    def _wait(self) -> None:
        signal.sigwait({signal.SIGTERM})
        self.event.set()
        if self._save:
            self._ended.wait(self._patience)
            self._save_once()
        os._exit(STOPPED)

    def _save_once(self) -> None:
        """That the cache cannot be written costs no engine, and does not keep the process from ending."""
        with self._saving:
            save, self._save = self._save, None
            if save:
                try:
                    save()
                except Exception as error:  # noqa: BLE001 - TensorRT's included
                    print(f"warning: the timing cache is not kept: {error}", flush=True)  # noqa: T201
