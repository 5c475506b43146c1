"""Clients that never rest: what they are answered while servers come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import numpy as np
import tritonclient.grpc
import tritonclient.http

from tests.e2e import live

PAUSE_SECONDS = 0.03
"""Between two requests of one client."""


@dataclass
class Log:
    """What the clients saw.

    factors: of each answer Y = X * factor, in order; failures: requests without a right answer.
    timings: of each answer, when it was asked for (time.monotonic()) and how many seconds it took.
    """

    factors: list[float] = field(default_factory=list)
    timings: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def check(self, *allowed: float) -> None:
        """No request was lost, and every answer came from one of these models."""
        assert not self.failures, f"{len(self.failures)} of {len(self.factors)}: {self.failures[:6]}"
        assert set(self.factors) <= set(allowed)
        assert len(self.factors) > 10

    def answers_again(self, *, than: int | None = None) -> int:
        """Wait for answers that come after now; how many there were till then."""
        before = len(self.factors) if than is None else than
        live.eventually(lambda: len(self.factors) > before + 4, what=f"no answers any more: {self.failures}")
        return len(self.factors)


@contextmanager
def constant_load(ensemble: live.Ensemble, model: str) -> Iterator[Log]:
    """HTTP and gRPC clients that ask and ask until the block ends. None renews its connection by itself."""
    address, log, stop = ensemble.address(), Log(), threading.Event()
    clients = [
        *(_Client(_http, address, model) for _ in range(3)),
        *(_Client(_grpc, address, model) for _ in range(2)),
    ]
    threads = [threading.Thread(target=client.run, args=(log, stop), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield log
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=120)


Infer = Callable[[str, live.Array], live.Array]


@dataclass(frozen=True)
class _Client:
    """Asks one request after the other, on one connection for as long as the server lets it."""

    connect: Callable[[str], AbstractContextManager[Infer]]
    address: str
    model: str

    def run(self, log: Log, stop: threading.Event) -> None:
        with self.connect(self.address) as infer:
            while not stop.is_set():
                self._ask(infer, log)
                time.sleep(PAUSE_SECONDS)

    def _ask(self, infer: Infer, log: Log) -> None:
        data = np.arange(1, 5, dtype=np.float32).reshape(1, 4)
        started, begun = time.strftime("%H:%M:%S"), time.monotonic()
        try:
            answer = infer(self.model, data)
            log.timings.append((begun, time.monotonic() - begun))
            factor = float(answer[0, 0])
            np.testing.assert_array_equal(answer, data * factor)
            log.factors.append(factor)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client has no answer
            log.failures.append(f"{started} {self.connect.__name__}: {type(error).__name__}: {error}")


@contextmanager
def _http(address: str) -> Iterator[Infer]:
    client = tritonclient.http.InferenceServerClient(f"{address}:8000", network_timeout=60)

    def infer(model: str, data: live.Array) -> live.Array:
        tensor = tritonclient.http.InferInput("X", list(data.shape), "FP32")
        tensor.set_data_from_numpy(data)
        found: live.Array = client.infer(model, [tensor]).as_numpy("Y")
        return found

    try:
        yield infer
    finally:
        client.close()


@contextmanager
def _grpc(address: str) -> Iterator[Infer]:
    with tritonclient.grpc.InferenceServerClient(f"{address}:8001") as client:

        def infer(model: str, data: live.Array) -> live.Array:
            tensor = tritonclient.grpc.InferInput("X", list(data.shape), "FP32")
            tensor.set_data_from_numpy(data)
            found: live.Array = client.infer(model, [tensor], client_timeout=60).as_numpy("Y")
            return found

        yield infer
