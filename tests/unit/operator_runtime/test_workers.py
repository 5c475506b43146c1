from __future__ import annotations

import asyncio
import random
import threading
from datetime import UTC, datetime, timedelta

from ensemble_operator.health import Heartbeats
from ensemble_operator.observe.routing import Key
from ensemble_operator.queue import Backoff, LoopClock, WorkQueue
from ensemble_operator.reconcile import Outcome
from ensemble_operator.workers import RESYNC_SECONDS, Workers
from tests.unit.operator_runtime.fake_clock import FakeClock

NOW = datetime(2026, 11, 21, tzinfo=UTC)
A, B = Key("n", "a"), Key("n", "b")


class RecordedQueue(WorkQueue[Key]):
    """Remembers for when keys were put off."""

    def __init__(self, clock: FakeClock | LoopClock) -> None:
        super().__init__(clock=clock, backoff=Backoff(), rng=random.Random(1))
        self.scheduled: list[float] = []

    def schedule(self, key: Key, seconds: float) -> None:
        self.scheduled.append(seconds)
        super().schedule(key, seconds)


def next_looks(*outcomes: Outcome) -> list[float]:
    """Seconds to the next look after each of a row of outcomes of one key."""

    async def main() -> list[float]:
        queue = RecordedQueue(FakeClock())
        heartbeats = Heartbeats(monotonic=lambda: 0.0)
        left = list(outcomes)

        def reconcile(key: Key, *, failures: int) -> Outcome:
            assert (key, failures) == (A, 0) or outcomes[0].result == "retry"
            return left.pop(0)

        workers = Workers(
            queue,
            reconcile,
            count=1,
            heartbeats=heartbeats,
            now=lambda: NOW,
            rng=random.Random(1),
        )
        for _ in outcomes:
            await workers._one(A)
        return queue.scheduled

    return asyncio.run(main())


def test_settled_ensemble_is_looked_at_at_its_time() -> None:
    assert next_looks(Outcome("settled", NOW + timedelta(seconds=42))) == [42]
    assert next_looks(Outcome("settled", NOW - timedelta(seconds=42))) == [0]


def test_settled_ensemble_without_time_is_resynced() -> None:
    (seconds,) = next_looks(Outcome("settled"))
    assert 0.8 * RESYNC_SECONDS <= seconds <= 1.2 * RESYNC_SECONDS
    (seconds,) = next_looks(Outcome("settled", NOW + timedelta(days=1)))
    assert seconds <= 1.2 * RESYNC_SECONDS


def test_changes_without_end_are_slowed_down() -> None:
    seconds = next_looks(*[Outcome("changed")] * 12)
    assert seconds[:5] == [0, 0, 0, 0, 0]
    assert seconds[5:] == [1, 2, 4, 8, 16, 30, 30]


def test_settling_ends_the_row_of_changes() -> None:
    seconds = next_looks(*[Outcome("changed")] * 5, Outcome("settled"), Outcome("changed"))
    assert seconds[-1] == 0


def test_gone_ensemble_is_forgotten() -> None:
    assert next_looks(Outcome("gone")) == []


def test_a_crash_of_one_pass_stops_nothing_and_running_passes_are_finished() -> None:
    async def main() -> None:
        queue = RecordedQueue(LoopClock())
        heartbeats = Heartbeats(monotonic=lambda: 0.0)
        started, release = threading.Event(), threading.Event()
        seen: list[Key] = []

        def reconcile(key: Key, *, failures: int) -> Outcome:
            assert failures == 0
            if key == A:
                raise RuntimeError("a fault of the operator itself")
            started.set()
            release.wait(10)
            seen.append(key)
            return Outcome("settled")

        workers = Workers(
            queue, reconcile, count=2, heartbeats=heartbeats, now=lambda: NOW, rng=random.Random(1)
        )
        running = asyncio.create_task(workers.run())
        queue.add(A)
        queue.add(B)
        await asyncio.to_thread(started.wait, 10)
        queue.close()
        await asyncio.sleep(0.05)
        assert not running.done(), "the pass that runs is finished first"
        release.set()
        await asyncio.wait_for(running, 10)
        assert seen == [B]
        assert queue.failures(A) == 1
        assert heartbeats.ages() == {}

    asyncio.run(main())
