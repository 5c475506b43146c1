from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine

import pytest

from ensemble_operator.queue import Backoff, WorkQueue
from tests.unit.operator_runtime.fake_clock import FakeClock, settle

BACKOFF = Backoff(first=1.0, longest=60.0, spread=0.0, pause=1.0)


class TimedQueue(WorkQueue[str]):
    """A queue with its own time."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.waits: list[float] = []
        super().__init__(clock=self.clock, backoff=BACKOFF, rng=random.Random(1), waited=self.waits.append)


def scenario(test: Callable[[TimedQueue], Coroutine[None, None, None]]) -> Callable[[], None]:
    """Run an async test on a queue with virtual time."""

    def run() -> None:
        async def main() -> None:
            await test(TimedQueue())

        asyncio.run(main())

    return run


@scenario
async def test_a_key_added_often_is_handed_out_once(queue: TimedQueue) -> None:
    for _ in range(5):
        queue.add("a")
    queue.add("b")
    assert [await queue.take(), await queue.take()] == ["a", "b"]
    assert await queue.take(patience=0) is None


@scenario
async def test_the_wait_for_a_worker_is_told_from_the_first_news_on(queue: TimedQueue) -> None:
    queue.add("a")
    await queue.clock.advance(3)
    queue.add("a")
    await queue.clock.advance(1)
    assert await queue.take() == "a"
    assert queue.waits == [4]


@scenario
async def test_a_key_in_work_is_not_handed_out_again(queue: TimedQueue) -> None:
    queue.add("a")
    assert await queue.take() == "a"
    queue.add("a")
    queue.add("a")
    assert await queue.take(patience=0) is None, "a second worker must not get the key"
    queue.done("a")
    assert await queue.take(patience=0) == "a", "news during the work lead to one more look"
    queue.done("a")
    assert await queue.take(patience=0) is None


@scenario
async def test_waiting_worker_is_woken(queue: TimedQueue) -> None:
    waiting = asyncio.create_task(queue.take())
    await settle()
    assert not waiting.done()
    queue.add("a")
    assert await waiting == "a"


@scenario
async def test_every_waiting_worker_gets_its_key(queue: TimedQueue) -> None:
    workers = [asyncio.create_task(queue.take()) for _ in range(3)]
    await settle()
    for key in ("a", "b", "c"):
        queue.add(key)
    assert sorted(str(key) for key in await asyncio.gather(*workers)) == ["a", "b", "c"]


@scenario
async def test_appointment_comes_at_its_time(queue: TimedQueue) -> None:
    queue.schedule("a", 30)
    waiting = asyncio.create_task(queue.take())
    await queue.clock.advance(29.9)
    assert not waiting.done()
    await queue.clock.advance(0.1)
    assert waiting.done()
    assert await waiting == "a"


@scenario
async def test_later_appointment_replaces_the_earlier(queue: TimedQueue) -> None:
    queue.schedule("a", 5)
    queue.schedule("a", 50)
    waiting = asyncio.create_task(queue.take())
    await queue.clock.advance(49)
    assert not waiting.done()
    await queue.clock.advance(1)
    assert waiting.done()
    queue.done("a")
    assert await queue.take(patience=0) is None, "the replaced appointment must not come, too"


@scenario
async def test_appointment_replaced_by_an_earlier_one(queue: TimedQueue) -> None:
    queue.schedule("a", 600)
    waiting = asyncio.create_task(queue.take())
    await settle()
    queue.schedule("a", 2)
    await queue.clock.advance(2)
    assert waiting.done()


@scenario
async def test_failures_double_the_delay_up_to_the_cap(queue: TimedQueue) -> None:
    delays = []
    queue.add("a")
    for _ in range(8):
        waiting = asyncio.create_task(queue.take())
        await queue.clock.advance(60)
        assert await waiting == "a"
        delays.append(queue.retry("a"))
        queue.done("a")
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    queue.succeeded("a")
    assert queue.retry("a") == 1
    assert queue.counts.retries == 9


@scenario
async def test_news_do_not_defeat_the_backoff(queue: TimedQueue) -> None:
    for _ in range(5):
        queue.retry("a")
    queue.add("a")
    assert await queue.take(patience=0) is None, "right after a failure there is a pause"
    waiting = asyncio.create_task(queue.take())
    await queue.clock.advance(1)
    assert waiting.done(), "but news do not wait for the whole backoff of 16 s"


@scenario
async def test_news_do_not_put_a_near_retry_off(queue: TimedQueue) -> None:
    queue.retry("a")  # due in 1 s
    await queue.clock.advance(0.5)
    queue.add("a")
    waiting = asyncio.create_task(queue.take())
    await queue.clock.advance(0.5)
    assert waiting.done()


@scenario
async def test_forgotten_key_has_no_appointment(queue: TimedQueue) -> None:
    queue.retry("a")
    queue.forget("a")
    waiting = asyncio.create_task(queue.take(patience=1000))
    await queue.clock.advance(1000)
    assert await waiting is None
    assert queue.failures("a") == 0


@scenario
async def test_patience_ends(queue: TimedQueue) -> None:
    waiting = asyncio.create_task(queue.take(patience=5))
    await queue.clock.advance(4.9)
    assert not waiting.done()
    await queue.clock.advance(0.1)
    assert await waiting is None


@scenario
async def test_closing_wakes_all_workers(queue: TimedQueue) -> None:
    workers = [asyncio.create_task(queue.take()) for _ in range(3)]
    await settle()
    queue.close()
    queue.add("a")
    assert await asyncio.gather(*workers) == [None, None, None]
    assert await queue.take() is None


def test_backoff_spread_keeps_within_bounds() -> None:
    backoff = Backoff(first=10, longest=100, spread=0.2)
    rng = random.Random(3)
    first = [backoff.delay(1, rng) for _ in range(500)]
    assert min(first) >= 8
    assert max(first) <= 12
    assert max(first) - min(first) > 2, "the delays must differ"
    assert backoff.delay(10_000, rng) <= 120


@pytest.mark.parametrize("seed", range(20))
def test_no_key_is_lost_and_none_is_worked_on_twice_at_a_time(seed: int) -> None:
    """Random adds from a few workers: every key is looked at after its last add."""

    async def main() -> None:
        clock, rng = FakeClock(), random.Random(seed)
        queue: WorkQueue[int] = WorkQueue(clock=clock, backoff=BACKOFF, rng=rng)
        running: set[int] = set()
        version = dict.fromkeys(range(6), 0)
        seen = dict.fromkeys(range(6), -1)

        async def worker() -> None:
            while (key := await queue.take()) is not None:
                assert key not in running
                running.add(key)
                looked_at = version[key]
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)
                seen[key] = looked_at
                running.discard(key)
                if rng.random() < 0.3:
                    queue.retry(key)
                else:
                    queue.succeeded(key)
                queue.done(key)

        workers = [asyncio.create_task(worker()) for _ in range(3)]
        for _ in range(200):
            key = rng.randrange(6)
            version[key] += 1
            queue.add(key)
            if rng.random() < 0.3:
                await asyncio.sleep(0)
            if rng.random() < 0.1:
                await clock.advance(rng.random())
        await clock.advance(500)
        queue.close()
        await asyncio.gather(*workers)
        assert seen == version

    asyncio.run(main())
