"""How long the request of a case takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ensembles_api.verification import LatencyBound


@dataclass(frozen=True)
class Measured:
    """Milliseconds of a request; of n requests, p99 is the one that 99 of 100 do not exceed."""

    p50: float
    p99: float
    requests: int

    def exceeded(self, bound: LatencyBound) -> Iterator[str]:
        """Each bound that does not hold, with figures."""
        for name, found, most in (
            ("p50", self.p50, bound.p50_milliseconds),
            ("p99", self.p99, bound.p99_milliseconds),
        ):
            if most is not None and found > most:
                yield f"{name} of {self.requests} requests is {found:.1f} ms, and {most} ms is expected"


def measure(ask: Callable[[], object], bound: LatencyBound) -> Measured:
    """Ask one request after the other."""
    taken = []
    for _ in range(bound.requests):
        begin = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - begin) * 1000)
    p50, p99 = (float(np.percentile(taken, q, method="inverted_cdf")) for q in (50, 99))
    return Measured(round(p50, 3), round(p99, 3), bound.requests)
