"""How far a build has come, as lines of JSON in the Job's log.

From TensorRT 10 the builder says so itself; before, the share of layers whose kernels were timed is counted
in its verbose log.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

STEP = 5
"""Percent between two lines."""
_LAYERS = re.compile(r"^After .*: (\d+) layers$")
_TIMING_ENDS = 0.95
"""Share of the work that is done when every layer was timed: the engine is put together then."""
_TIMED = re.compile(r"=+ Computing costs for")


@dataclass
class Progress:
    """Percent done so far; it never falls. `tell` is given it every `STEP` percent."""

    tell: Callable[[int], None]
    shown: int = 0

    def reach(self, share: float) -> None:
        """`share` of the work, 0 to 1, is done."""
        percent = min(100, int(share * 100 / STEP) * STEP)
        if percent > self.shown:
            self.shown = percent
            self.tell(percent)


def printed(began: float) -> Callable[[int], None]:
    """Writes progress to the log, with the seconds since `began` on the monotonic clock."""

    def tell(percent: int) -> None:
        line = {"progress": percent, "seconds": round(time.monotonic() - began, 1)}
        print(json.dumps(line), flush=True)  # noqa: T201 - the Job's log

    return tell


@dataclass
class Phases:
    """The builder's phases, which nest: a phase runs within one step of its parent."""

    steps: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)

    def start(self, name: str, parent: str | None, steps: int) -> None:
        self.steps[name], self.done[name], self.parents[name] = max(1, steps), 0, parent

    def complete(self, name: str, step: int) -> None:
        self.done[name] = step + 1

    def finish(self, name: str) -> None:
        for names in (self.steps, self.done, self.parents):
            names.pop(name, None)

    def share(self) -> float:
        """Of the outermost phase, 0 to 1."""
        roots = [name for name, parent in self.parents.items() if parent not in self.parents]
        return self._share(roots[0]) if roots else 0.0

    def _share(self, name: str) -> float:
        children = [child for child, parent in self.parents.items() if parent == name]
        inner = max((self._share(child) for child in children), default=0.0)
        return min(1.0, (self.done[name] + inner) / self.steps[name])


def monitor(tensorrt: Any, progress: Progress, stop: threading.Event) -> Any:
    """An IProgressMonitor that fills `progress` and ends the build once `stop` is set."""
    base: Any = tensorrt.IProgressMonitor
    phases = Phases()
    lock = threading.Lock()

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with lock:
                phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with lock:
                phases.complete(phase_name, step)
                progress.reach(phases.share())
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            with lock:
                phases.finish(phase_name)

    return Monitor()


@dataclass
class VerboseLog:
    """Counts timed layers in the log of a TensorRT without progress monitors."""

    progress: Progress
    layers: int = 0
    timed: int = 0

    def read(self, message: str) -> None:
        if found := _LAYERS.match(message):
            self.layers = int(found[1])
        elif self.layers and _TIMED.match(message):
            self.timed += 1
            self.progress.reach(min(_TIMING_ENDS, self.timed / self.layers))
