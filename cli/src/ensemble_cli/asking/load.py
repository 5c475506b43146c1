"""A short load on one server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ensemble_builder.commands.verify.requests import Input
from ensemble_cli.asking.servers import Server
from ensemble_cli.asking.tensors import ModelView
from ensemble_cli.exits import CommandError


@dataclass(frozen=True)
class Measured:
    """One row: latencies in seconds, of answered requests."""

    batch: int
    concurrency: int
    per_second: float
    """Inferences, not requests: a batch of 8 counts 8."""
    p50: float
    p90: float
    p99: float
    errors: int
    first_error: str


def batched(inputs: Sequence[Input], size: int) -> tuple[Input, ...]:
    """The same request `size` times as one batch."""
    return tuple(Input(item.name, item.data_type, np.repeat(item.value[:1], size, axis=0)) for item in inputs)


def measure(
    connect: Callable[[], Server],
    model: ModelView,
    inputs: Sequence[Input],
    *,
    batch: int,
    concurrency: int,
    seconds: float,
) -> Measured:
    """Ask from `concurrency` threads, each one request after the other, for `seconds`.

    Args:
        connect: a client for each thread.
        model: who is asked.
        inputs: of every request.
        batch: how many inferences one request is.
        concurrency: threads.
        seconds: how long.

    Raises:
        CommandError: no request was answered.
    """
    latencies: list[float] = []
    errors: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        server = connect()
        try:
            while not stop.is_set():
                begin = time.monotonic()
                try:
                    server.infer(model, inputs, {})
                except CommandError as error:
                    errors.append(str(error))
                    stop.wait(0.1)
                else:
                    latencies.append(time.monotonic() - begin)
        finally:
            server.close()

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(concurrency)]
    begin = time.monotonic()
    try:
        for thread in threads:
            thread.start()
        stop.wait(seconds)
    finally:
        stop.set()
    elapsed = time.monotonic() - begin
    counted = list(latencies)
    for thread in threads:
        thread.join(1.0)
    if not counted:
        raise CommandError(errors[0] if errors else f"no answer within {seconds:.0f} s")
    p50, p90, p99 = (float(value) for value in np.percentile(counted, [50, 90, 99]))
    return Measured(
        batch, concurrency, batch * len(counted) / elapsed, p50, p90, p99, len(errors), (errors or [""])[0]
    )
