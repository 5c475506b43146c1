"""Workers: take keys from the queue and run passes in threads."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Protocol

from ensemble_operator.health import Heartbeats
from ensemble_operator.observe.routing import Key
from ensemble_operator.queue import WorkQueue
from ensemble_operator.reconcile import Outcome

RESYNC_SECONDS = 600.0
RESYNC_SPREAD = 0.2
IDLE_SECONDS = 5.0
"""How often an idle worker shows that it lives."""
PASS_LIMIT_SECONDS = 600.0
"""A pass is bounded by its requests' deadlines; one that takes longer hangs."""

_AT_ONCE = 5
"""So many passes in a row may change something before they are slowed down."""

_log = logging.getLogger(__name__)


class Reconcile(Protocol):
    def __call__(self, key: Key, *, failures: int) -> Outcome: ...


class Workers:
    """A fixed number of workers on one queue.

    Args:
        now: the time that `Outcome.wake` is measured against.
    """

    def __init__(
        self,
        queue: WorkQueue[Key],
        reconcile: Reconcile,
        *,
        count: int,
        heartbeats: Heartbeats,
        now: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._count = count
        self._heartbeats = heartbeats
        self._now = now
        self._rng = rng
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="pass")
        self._changes: dict[Key, int] = {}
        """Passes in a row that changed something."""

    async def run(self) -> None:
        """Work until the queue is closed; running passes are finished."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._work(f"worker-{number}"), name=f"worker-{number}")
        self._pool.shutdown(wait=False)

    async def _work(self, name: str) -> None:
        while True:
            self._heartbeats.beat(name, within=IDLE_SECONDS * 6)
            key = await self._queue.take(patience=IDLE_SECONDS)
            if key is not None:
                self._heartbeats.beat(name, within=PASS_LIMIT_SECONDS)
                await self._one(key)
            elif self._queue.closed:
                self._heartbeats.stop(name)
                return

    async def _one(self, key: Key) -> None:
        failures = self._queue.failures(key)
        try:
            loop = asyncio.get_running_loop()
            outcome = await loop.run_in_executor(self._pool, lambda: self._reconcile(key, failures=failures))
        except Exception:  # noqa: BLE001 - a fault of one ensemble must not stop the others
            _log.exception("pass crashed", extra={"key": str(key)})
            outcome = Outcome("retry")
        finally:
            self._queue.done(key)
        self._plan_next(key, outcome)

    def _plan_next(self, key: Key, outcome: Outcome) -> None:
        changes = self._changes.pop(key, 0)
        match outcome.result:
            case "gone":
                self._queue.forget(key)
            case "retry":
                self._queue.retry(key)
            case "changed":
                self._queue.succeeded(key)
                self._changes[key] = changes + 1
                self._queue.schedule(key, _slowed(changes))
            case "settled":
                self._queue.succeeded(key)
                self._queue.schedule(key, self._seconds_to(outcome.wake))

    def _seconds_to(self, wake: datetime | None) -> float:
        resync = RESYNC_SECONDS * self._rng.uniform(1 - RESYNC_SPREAD, 1 + RESYNC_SPREAD)
        if wake is None:
            return resync
        return min(resync, max(0.0, (wake - self._now()).total_seconds()))


def _slowed(changes: int) -> float:
    """Seconds until the next pass after so many that changed something.

    Two controllers that undo each other's work must not keep the API server busy.
    """
    return 0.0 if changes < _AT_ONCE else min(30.0, 2.0 ** min(changes - _AT_ONCE, 5))
