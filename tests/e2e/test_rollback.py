"""Going back on the real cluster, under load: by hand, during a rollout, and by itself after a failure."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.e2e import live
from tests.e2e.load import Log, constant_load
from tests.e2e.models import ENDS_ITS_SERVER, MARKER, multiplies_by

pytestmark = [pytest.mark.long, pytest.mark.cluster, pytest.mark.timeout(1800)]

TENSOR = {"data_type": "TYPE_FP32", "dims": [4]}
SERVING = {"drainSeconds": 5}
ROLLOUT = {"retainSeconds": 900, "watchSeconds": 300}
FLAWED = {
    "name": "net",
    "python": {"source": {"inline": ENDS_ITS_SERVER}},
    "config": {"input": [{"name": "X", **TENSOR}], "output": [{"name": "Y", **TENSOR}]},
    "maxBatchSize": 4,
}


def apply(space: live.Namespace, models: list[dict[str, Any]]) -> live.Ensemble:
    return space.apply("returns", models, serving=dict(SERVING), rollout=ROLLOUT)


def ensemble_command(space: live.Namespace, *arguments: str) -> str:
    return live.run(sys.executable, "-m", "ensemble_cli", *arguments, "-n", space.name)


def jobs(space: live.Namespace) -> set[str]:
    return {item["metadata"]["name"] for item in space.items("jobs")}


def until_all_answer(log: Log, factor: float, since: float) -> float:
    """Seconds until every client is answered by one model alone, though other servers are retained."""
    live.eventually(
        lambda: set(log.factors[-50:]) == {factor}, every=0.1, what=lambda: f"{log.factors[-50:]}"
    )
    return time.monotonic() - since


def records(ensemble: live.Ensemble) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ensemble.status["history"]
    return found


def test_back_by_hand_and_by_itself(make_namespace: live.NamespaceFactory) -> None:
    with make_namespace("rollback") as space:
        ensemble = apply(space, multiplies_by(space, 2))
        ensemble.wait(seconds=240)
        with constant_load(ensemble, "net") as log:
            apply(space, multiplies_by(space, 3))
            ensemble.wait(seconds=240)
            log.answers_again()
            _by_hand(ensemble, log)
            _during_a_rollout(ensemble, log)
        log.check(2, 3)
        _by_itself(ensemble)


def _by_hand(ensemble: live.Ensemble, log: Log) -> None:
    """Only the Service moves: nobody builds, no pod comes or goes."""
    space = ensemble.namespace
    before, servers = jobs(space), _servers(space)
    start = time.monotonic()
    ensemble_command(space, "rollback", "returns", "1", "--cause", "wrong factor", "--wait", "60")
    seconds = until_all_answer(log, 2, start)
    assert jobs(space) <= before
    assert _servers(space) == servers
    newest, first = records(ensemble)
    assert (newest["outcome"], first["outcome"]) == ("RolledBack", "Promoted")
    assert first["message"].endswith("by kubectl-ensemble: wrong factor")
    ensemble_command(space, "unpin", "returns", "--wait", "60")
    until_all_answer(log, 3, start)
    assert jobs(space) <= before
    print(f"by hand: every client is answered by the former revision after {seconds:.1f} s")


def _servers(space: live.Namespace) -> set[str]:
    return {pod["metadata"]["uid"] for pod in space.items("pods", "ensembles.dev/role=server")}


def _during_a_rollout(ensemble: live.Ensemble, log: Log) -> None:
    space = ensemble.namespace
    before = _servers(space)
    apply(space, multiplies_by(space, 5))
    live.eventually(lambda: _servers(space) - before, seconds=240, what=ensemble.describe)
    start = time.monotonic()
    ensemble_command(space, "rollback", "returns", "1", "--wait", "120")
    until_all_answer(log, 2, start)
    live.eventually(lambda: _servers(space) <= before, what="the servers of the rollout stay")


def _by_itself(ensemble: live.Ensemble) -> None:
    """A model that answers well when verified, and ends its server at a certain input."""
    space = ensemble.namespace
    apply(space, [FLAWED])
    ensemble_command(space, "unpin", "returns")
    ensemble.wait(seconds=300)
    assert _factor(ensemble) == 7
    with _marked_requests(ensemble):
        start = time.monotonic()
        stalled = ensemble.wait("Stalled", "FailedAfterPromotion", seconds=240)
        live.eventually(lambda: _factor(ensemble) == 2, seconds=60, what=ensemble.describe)
        seconds = time.monotonic() - start
        assert "s after its promotion: " in stalled["message"]
        assert "exit code" in stalled["message"]
        live.eventually(
            lambda: ensemble.condition("Available").get("status") == "True", what=ensemble.describe
        )
        for _ in range(20):
            assert _factor(ensemble) == 2, "it goes on serving, and the failed one is not tried again"
    live.eventually(lambda: _ended(ensemble)[0] == "Failed", what=ensemble.describe)
    live.eventually(lambda: _ended(ensemble).count("Promoted") == 1, what=ensemble.describe)
    print(f"by itself: clients are answered again {seconds:.1f} s after the first fatal request")


def _ended(ensemble: live.Ensemble) -> list[str]:
    """How the rollouts ended, newest first."""
    return [record["outcome"] for record in records(ensemble)]


def _factor(ensemble: live.Ensemble) -> float:
    with contextlib.suppress(Exception):  # whatever a client sees of a server that ends
        return float(ensemble.infer("net", {"X": np.ones((1, 4), np.float32)})["Y"][0, 0])
    return 0


@contextmanager
def _marked_requests(ensemble: live.Ensemble) -> Iterator[None]:
    """A client that sends, each second, the input that the flawed model does not survive."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(1):
            with contextlib.suppress(Exception):
                ensemble.infer("net", {"X": np.full((1, 4), MARKER, np.float32)})

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=90)
