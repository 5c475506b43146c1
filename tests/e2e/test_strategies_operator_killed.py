"""The operator killed at every change a strategy makes, under load: the next one goes on where it was."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e import live
from tests.e2e.killing import every_job_ran_once, kill_operator, operator_again
from tests.e2e.load import constant_load
from tests.e2e.models import multiplies_by

pytestmark = [pytest.mark.long, pytest.mark.cluster, pytest.mark.timeout(1800)]

STRATEGIES: dict[str, dict[str, Any]] = {
    "BlueGreen": {},
    "RollingUpdate": {},
    "Canary": {"canary": {"steps": [{"weight": 50, "pauseSeconds": 3}]}},
}
SECONDS = 600
Stage = tuple[Any, ...]


def apply(space: live.Namespace, number: int, strategy: str) -> live.Ensemble:
    rollout = {"strategy": strategy, "retainSeconds": 0, "watchSeconds": 0, **STRATEGIES[strategy]}
    serving = {"resources": live.SMALL, "replicas": 2, "drainSeconds": 5}
    return space.apply("net", multiplies_by(space, number), serving=serving, rollout=rollout)


def stage(space: live.Namespace) -> Stage:
    """All that the operator has written: Jobs, servers wanted of each rollout, where the Service leads."""
    service = space.get("service", "net")
    annotations = service["metadata"].get("annotations", {})
    return (
        sorted(job["metadata"]["name"] for job in space.items("jobs")),
        sorted((d["metadata"]["name"], d["spec"]["replicas"]) for d in space.items("deployments")),
        sorted((name, value) for name, value in annotations.items() if name.startswith("ensembles.dev/")),
        sorted(service["spec"]["selector"].items()),
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_next_operator_goes_on(make_namespace: live.NamespaceFactory, strategy: str) -> None:
    with make_namespace(f"killed-{strategy.lower()}") as space:
        ensemble = apply(space, 2, strategy)
        ensemble.wait()
        old = ensemble.status["rollout"]
        with constant_load(ensemble, "net") as log:
            log.answers_again()
            seen = [stage(space)]
            apply(space, 3, strategy)
            end = time.monotonic() + SECONDS * live.PATIENCE
            while not _is_done(ensemble, old) or stage(space) not in seen:
                assert time.monotonic() < end, ensemble.describe()
                if (now := stage(space)) not in seen:
                    seen.append(now)
                    kill_operator()
                    operator_again()
                time.sleep(0.1)
            ensemble.wait()
            live.eventually(lambda: log.factors[-1] == 3, what="the old model answers")
            live.eventually(lambda: len(space.items("deployments")) == 1, what="old servers stay")
            log.answers_again()
        log.check(2, 3)
        every_job_ran_once(space)
        # Before, then at least: assembling, new servers and their verification, both asked, the new alone.
        assert len(seen) >= 5, seen
        outcomes = sorted(entry["outcome"] for entry in ensemble.status["history"])
        assert outcomes == ["Promoted", "Superseded"]


def _is_done(ensemble: live.Ensemble, old: str) -> bool:
    return ensemble.status.get("rollout") != old and ensemble.condition("Ready").get("status") == "True"
