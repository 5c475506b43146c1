"""A clock that tests move."""

from __future__ import annotations

import asyncio


class FakeClock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def monotonic(self) -> float:
        return self.now

    async def wait(self, event: asyncio.Event, *, until: float | None) -> None:
        if until is not None and until <= self.now:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        if until is not None:
            self._sleepers.append((until, woken))
        tasks = [asyncio.ensure_future(e.wait()) for e in (event, woken)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking sleepers in order."""
        end = self.now + seconds
        await settle()
        while due := [item for item in self._sleepers if item[0] <= end]:
            first = min(due, key=lambda item: item[0])
            self._sleepers.remove(first)
            self.now = max(self.now, first[0])
            first[1].set()
            await settle()
        self.now = end
        await settle()


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(50):
        await asyncio.sleep(0)
