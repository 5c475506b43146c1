"""Patience: how long a storage that does not answer is asked again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ensemble_builder.storage.errors import StorageError, is_transient

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Bounds of one storage operation, in seconds.

    `budget` counts from the operation's beginning, or from the last byte that arrived: a long transfer may
    take
    long as long as it moves. With a server that accepts and then says nothing, an operation ends after at
    most budget + read.
    """

    budget: float = 90.0
    connect: float = 5.0
    read: float = 20.0
    first_pause: float = 0.2
    longest_pause: float = 5.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


class Attempts:
    """Asks whether to try once more; `progress` starts the budget anew."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._since = patience.clock()
        self._pause = patience.first_pause
        self.count = 0

    def progress(self) -> None:
        self._since = self._patience.clock()
        self._pause = self._patience.first_pause

    def again(self, error: BaseException) -> bool:
        """After a failed attempt: pauses and returns True where another one is worth it."""
        self.count += 1
        if not is_transient(error):
            return False
        left = self._patience.budget - (self._patience.clock() - self._since)
        if left <= 0:
            return False
        self._patience.sleep(min(left, self._pause * random.uniform(0.5, 1.0)))  # noqa: S311
        self._pause = min(self._pause * 2, self._patience.longest_pause)
        return True


def persistently(patience: Patience, action: Callable[[], T]) -> T:
    """Run an idempotent request until it succeeds, fails for good, or the budget is spent.

    Raises:
        the last error of `action`.
    """
    attempts = Attempts(patience)
    while True:
        try:
            return action()
        except StorageError as error:  # noqa: PERF203 - a loop of attempts
            if not attempts.again(error):
                raise
