"""The work queue: which ensemble to look at next, and when to look again.

A key is never handed out twice at a time; news that come meanwhile are remembered and lead to one more look.
All methods belong to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)


class Clock(Protocol):
    """Time, so that tests can have their own."""

    def monotonic(self) -> float:
        """Seconds; never goes back."""
        ...

    async def wait(self, event: asyncio.Event, *, until: float | None) -> None:
        """Return when the event is set or the time has come, whichever is first."""
        ...


class LoopClock:
    """The real time."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, *, until: float | None) -> None:
        seconds = None if until is None else max(0.0, until - self.monotonic())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)


@dataclass(frozen=True)
class Backoff:
    """Delays between tries that fail: doubled each time, spread so that many keys do not come at once."""

    first: float = 1.0
    longest: float = 300.0
    spread: float = 0.2
    pause: float = 1.0
    """Least time between two failing tries, whatever news come in between."""

    def delay(self, failures: int, rng: random.Random) -> float:
        """Seconds to wait after so many failures in a row (at least 1)."""
        exponent = min(failures - 1, 30)
        return min(self.longest, self.first * 2.0**exponent) * rng.uniform(1 - self.spread, 1 + self.spread)


@dataclass
class Counts:
    """Totals since the start, for metrics."""

    adds: int = 0
    retries: int = 0


class WorkQueue(Generic[K]):
    """Keys to look at, in order of arrival.

    Args:
        rng: source of the jitter.
        waited: told how many seconds each key waited for a worker.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        backoff: Backoff,
        rng: random.Random,
        waited: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.counts = Counts()
        self._clock = clock
        self._backoff = backoff
        self._rng = rng
        self._waited = waited
        self._ready: deque[K] = deque()
        self._waiting: dict[K, float] = {}
        """Due or in `_ready`: to be looked at; since when."""
        self._taken: set[K] = set()
        self._appointments: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        """The appointment of each key that counts; others of the same key are leftovers."""
        self._failures: dict[K, int] = {}
        self._failed_at: dict[K, float] = {}
        self._order = itertools.count()
        self._news = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        """Keys that wait for a worker now."""
        return len(self._ready)

    @property
    def closed(self) -> bool:
        """Whether nothing more is handed out."""
        return self._closed

    def add(self, key: K) -> None:
        """There is news of a key: look soon, but keep a pause after a failure."""
        if key in self._failed_at:
            earliest = self._failed_at[key] + self._backoff.pause
            if earliest > self._clock.monotonic():
                if earliest < self._due.get(key, earliest + 1):
                    self._appoint(key, earliest)
                return
        self._enqueue(key)

    def schedule(self, key: K, seconds: float) -> None:
        """Look in so many seconds; replaces the key's earlier appointment."""
        self._appoint(key, self._clock.monotonic() + seconds)

    def retry(self, key: K) -> float:
        """The look failed: look again after the backoff, which is returned in seconds."""
        self.counts.retries += 1
        self._failures[key] = self._failures.get(key, 0) + 1
        self._failed_at[key] = self._clock.monotonic()
        delay = self._backoff.delay(self._failures[key], self._rng)
        self.schedule(key, delay)
        return delay

    def failures(self, key: K) -> int:
        """How often in a row the key has failed."""
        return self._failures.get(key, 0)

    def succeeded(self, key: K) -> None:
        """The look went well: the next failure begins a new row."""
        self._failures.pop(key, None)
        self._failed_at.pop(key, None)

    def forget(self, key: K) -> None:
        """The key's object is gone: no further looks, unless there is news."""
        self.succeeded(key)
        self._due.pop(key, None)

    async def take(self, *, patience: float | None = None) -> K | None:
        """The next key; None after `patience` seconds without one, or when the queue is closed.

        The caller must call `done` for it.
        """
        until = None if patience is None else self._clock.monotonic() + patience
        while not self._closed:
            self._call_due()
            if self._ready:
                key = self._ready.popleft()
                self._waited(self._clock.monotonic() - self._waiting.pop(key))
                self._taken.add(key)
                return key
            if until is not None and self._clock.monotonic() >= until:
                return None
            self._news.clear()
            due = self._appointments[0][0] if self._appointments else None
            times = [time for time in (until, due) if time is not None]
            await self._clock.wait(self._news, until=min(times, default=None))
        return None

    def done(self, key: K) -> None:
        """The worker has finished with a key."""
        self._taken.discard(key)
        if key in self._waiting:
            self._ready.append(key)
            self._news.set()

    def close(self) -> None:
        """Hand out nothing more."""
        self._closed = True
        self._news.set()

    def _enqueue(self, key: K) -> None:
        if key in self._waiting:
            return
        self.counts.adds += 1
        self._waiting[key] = self._clock.monotonic()
        if key not in self._taken:
            self._ready.append(key)
            self._news.set()

    def _appoint(self, key: K, due: float) -> None:
        self._due[key] = due
        heapq.heappush(self._appointments, (due, next(self._order), key))
        self._news.set()

    def _call_due(self) -> None:
        now = self._clock.monotonic()
        while self._appointments and self._appointments[0][0] <= now:
            due, _, key = heapq.heappop(self._appointments)
            if self._due.get(key) == due:
                del self._due[key]
                self._enqueue(key)
