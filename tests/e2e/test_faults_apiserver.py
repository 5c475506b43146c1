"""The API server goes away and comes back, while an ensemble is built, serves and changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.e2e import live, localnode
from tests.e2e.load import constant_load
from tests.e2e.models import DOUBLING_PIPELINE, multiplies_by

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
PATIENCE = 420
SPEC: dict[str, Any] = {"entrypoint": "net", "rollout": {"retainSeconds": 0, "watchSeconds": 0}}


def models(space: live.Namespace, *, scale: float) -> list[dict[str, Any]]:
    pre = {"name": "pre", "dali": {"source": {"inline": DOUBLING_PIPELINE}}}
    return [pre, *multiplies_by(space, scale)]


def running(space: live.Namespace, role: str) -> bool:
    pods = space.items("pods", f"ensembles.dev/role={role}")
    return any(pod["status"].get("phase") in {"Pending", "Running"} for pod in pods)


def multiplies(ensemble: live.Ensemble, factor: float) -> None:
    ensemble.wait(seconds=PATIENCE)
    assert ensemble.condition("Reconciling") == ensemble.condition("Stalled") == {}
    data = np.arange(8, dtype=np.float32).reshape(2, 4)

    def answered() -> bool:
        (answer,) = ensemble.infer("net", {"X": data}).values()
        return np.array_equal(answer, data * factor)

    # Every kube-proxy has to find back to the API server, too, before it learns where the Service leads now.
    live.eventually(answered, seconds=60, what="another model answers")


def test_the_api_server_restarts(namespace: live.Namespace) -> None:
    localnode.require()
    ensemble = namespace.apply("net", models(namespace, scale=2), **SPEC)
    live.eventually(lambda: running(namespace, "build"), seconds=PATIENCE, every=0.2, what=ensemble.describe)
    localnode.restart("apiserver")
    multiplies(ensemble, 2)
    first = ensemble.status["rollout"]
    with constant_load(ensemble, "net") as log:
        log.answers_again()
        localnode.restart("apiserver")
        log.answers_again()
        multiplies(ensemble, 2)
        assert ensemble.status["rollout"] == first
        namespace.apply("net", models(namespace, scale=3), **SPEC)
        live.eventually(
            lambda: running(namespace, "verify"), seconds=PATIENCE, every=0.2, what=ensemble.describe
        )
        localnode.restart("apiserver")
        multiplies(ensemble, 3)
        log.answers_again()
    log.check(2, 3)
    assert len(namespace.items("controllerrevisions")) == 2
