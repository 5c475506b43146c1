"""Each strategy under clients that never rest: who is asked when, and that no request is lost.

A model multiplies by its revision's number, so that an answer tells who gave it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from tests.e2e import live, together
from tests.e2e.load import Log, constant_load
from tests.e2e.models import multiplies_by

pytestmark = [pytest.mark.long, pytest.mark.cluster, pytest.mark.timeout(1200)]

QUICK: dict[str, Any] = {"retainSeconds": 0, "watchSeconds": 0}
PATIENCE = 300


def apply(space: live.Namespace, number: int, replicas: int, rollout: dict[str, Any]) -> live.Ensemble:
    serving = {"resources": live.SMALL, "replicas": replicas, "drainSeconds": 5}
    return space.apply("net", multiplies_by(space, number), serving=serving, rollout={**QUICK, **rollout})


def servers(space: live.Namespace) -> dict[str, tuple[int, int]]:
    """Wanted and ready servers by rollout."""
    return {
        d["metadata"]["labels"]["ensembles.dev/rollout"]: (
            d["spec"]["replicas"],
            d.get("status", {}).get("readyReplicas", 0),
        )
        for d in space.items("deployments")
        if "deletionTimestamp" not in d["metadata"]
    }


def share(log: Log, number: int, *, seconds: float = 2) -> float:
    """What part of the next answers comes from a revision."""
    before = len(log.factors)
    time.sleep(seconds)
    live.eventually(lambda: len(log.factors) > before, what=f"no answers: {log.failures}")
    return log.factors[before:].count(float(number)) / len(log.factors[before:])


def a_rolling_update(space: live.Namespace) -> None:
    rollout = {"strategy": "RollingUpdate"}
    ensemble = apply(space, 2, 3, rollout)
    ensemble.wait(seconds=PATIENCE)
    with constant_load(ensemble, "net") as log:
        log.answers_again()
        apply(space, 3, 3, rollout)
        seen = set()
        end = time.monotonic() + PATIENCE * live.PATIENCE
        while ensemble.condition("Ready").get("status") != "True" and time.monotonic() < end:
            found = servers(space)
            seen.add(tuple(sorted(wanted for wanted, _ in found.values())))
            assert sum(wanted for wanted, _ in found.values()) <= 4, found
            assert sum(ready for _, ready in found.values()) >= 3, found
            time.sleep(0.3)
        ensemble.wait(seconds=10)
        live.eventually(lambda: log.factors[-1] == 3, what="the new revision does not answer")
        log.answers_again()
    log.check(2, 3)
    assert {(1, 3), (2, 2)} & seen, seen


def a_canary(space: live.Namespace) -> None:
    steps = [{"weight": 25, "pauseSeconds": 8}, {"weight": 50, "waitForApproval": True}]
    rollout = {"strategy": "Canary", "canary": {"steps": steps}}
    ensemble = apply(space, 2, 2, rollout)
    ensemble.wait(seconds=PATIENCE)
    with constant_load(ensemble, "net") as log:
        log.answers_again()
        apply(space, 3, 2, rollout)

        def waits() -> bool:
            return "waits for approval" in ensemble.condition("Reconciling").get("message", "")

        live.eventually(waits, seconds=PATIENCE, what=ensemble.describe)
        progress = ensemble.status["progress"]
        assert (progress["step"], progress["steps"], progress["weight"]) == (2, 2, 50)
        assert ensemble.status["rollout"] != progress["rollout"]
        assert sorted(servers(space).values()) == [(2, 2), (2, 2)]
        # A connection stays with one server for ten seconds: a share shows only over many of them.
        assert 0.1 < share(log, 3, seconds=30) < 0.9
        promote = f"ensembles.dev/promote={progress['rollout']}/2"
        space.kubectl("annotate", "ie", "net", promote)
        ensemble.wait(seconds=PATIENCE)
        live.eventually(lambda: share(log, 3) == 1, what="the old revision still answers")
        assert "progress" not in ensemble.status

        # One that nobody wants any more gives its share back.
        apply(space, 4, 2, rollout)
        live.eventually(lambda: 4.0 in log.factors, seconds=PATIENCE, what=ensemble.describe)
        apply(space, 3, 2, rollout)
        ensemble.wait(seconds=PATIENCE)
        live.eventually(lambda: share(log, 3) == 1, what="the abandoned revision still answers")
        live.eventually(lambda: len(servers(space)) == 1, what="the abandoned servers stay")
    log.check(2, 3, 4)


def recreate(space: live.Namespace) -> None:
    rollout = {"strategy": "Recreate"}
    ensemble = apply(space, 2, 1, rollout)
    ensemble.wait(seconds=PATIENCE)
    apply(space, 3, 1, rollout)
    end = time.monotonic() + PATIENCE * live.PATIENCE
    while ensemble.condition("Ready").get("status") != "True" and time.monotonic() < end:
        # A pod whose containers have ended holds nothing any more, though its object may still be there.
        ended = "status.phase!=Succeeded,status.phase!=Failed"
        servers = {"labelSelector": "ensembles.dev/role=server", "fieldSelector": ended}
        pods = space.get("pods", **servers)["items"]
        alive = {pod["metadata"]["labels"]["ensembles.dev/rollout"] for pod in pods}
        assert len(alive) <= 1, alive
        time.sleep(0.3)
    ensemble.wait(seconds=10)
    with constant_load(ensemble, "net") as log:
        log.answers_again()
    log.check(3)


STORIES = (a_rolling_update, a_canary, recreate)


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    yield from together.begin(request, STORIES)


@pytest.mark.parametrize("story", STORIES, ids=together.name_of)
def test_strategy(told: dict[str, Future[None]], story: together.Story) -> None:
    told[together.name_of(story)].result()
