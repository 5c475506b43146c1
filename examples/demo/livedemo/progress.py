"""What the demo prints while it works, and the seconds it notes down."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

TERMINAL = sys.stdout.isatty()


def bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if TERMINAL else text


def dim(text: str) -> str:
    return f"\033[2m{text}\033[0m" if TERMINAL else text


def say(text: str = "") -> None:
    print(text, flush=True)


def detail(text: str) -> None:
    say(dim(f"    {text}"))


@dataclass
class Laps:
    """Steps and how long each took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announces a step, times it, and says how it ended."""
        say(f"{bold('▸')} {name}")
        started = time.monotonic()
        try:
            yield
        except BaseException:
            say(f"{bold('✗')} {name} failed after {time.monotonic() - started:.1f} s")
            raise
        self.note(name, time.monotonic() - started)
        say(f"{bold('✓')} {name}  {self.seconds[name]:.1f} s")

    def note(self, name: str, seconds: float) -> None:
        self.seconds[name] = seconds

    def table(self, title: str) -> str:
        width = max(len(name) for name in self.seconds)
        rows = [f"  {name:<{width}}  {seconds:8.1f} s" for name, seconds in self.seconds.items()]
        total = sum(self.seconds.values())
        return "\n".join([bold(title), *rows, f"  {'total':<{width}}  {total:8.1f} s"])
