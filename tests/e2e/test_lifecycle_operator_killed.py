"""The operator killed without warning at every stage: the next one goes on where it was."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e import live
from tests.e2e.killing import every_job_ran_once, kill_operator, operator_again
from tests.e2e.load import constant_load
from tests.e2e.models import DOUBLING_PIPELINE, affine_onnx

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

SPEC: dict[str, Any] = {
    "serving": {"resources": {"requests": {"memory": "256Mi"}}},
    "rollout": {"retainSeconds": 0, "watchSeconds": 0},
    "entrypoint": "net",
}
ROLE = "ensembles.dev/role"


def models(uri: str) -> list[dict[str, Any]]:
    return [
        {"name": "pre", "dali": {"source": {"inline": DOUBLING_PIPELINE}}, "maxBatchSize": 4},
        {"name": "net", "onnxruntime": {"source": {"uri": uri}}},
    ]


@contextmanager
def watching(space: live.Namespace, *what: str, path: str) -> Iterator[Iterator[str]]:
    """A JSONPath of objects, now and at every change of theirs."""
    command = ("kubectl", "-n", space.name, "get", *what, "--watch", "-o", f"jsonpath={{{path}}}{{'\\n'}}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=live.environment()) as watch:
        assert watch.stdout is not None
        try:
            yield (line.strip() for line in watch.stdout)
        finally:
            watch.terminate()


def killed_when(space: live.Namespace, *what: str, path: str) -> str:
    """Kill the operator as soon as the path gives something; what it gave."""
    with watching(space, *what, path=path) as lines:
        found = next(filter(None, lines))
    kill_operator()
    return found


def test_the_next_operator_goes_on(make_namespace: live.NamespaceFactory) -> None:
    with make_namespace("operator-killed") as space:
        ensemble = space.apply("net", models(space.put("double.onnx", affine_onnx(scale=2))), **SPEC)
        for kind, role in (("jobs", "assemble"), ("jobs", "build"), ("deployments", "server")):
            killed_when(space, kind, "-l", f"{ROLE}={role}", path=".metadata.name")
            assert ensemble.condition("Ready").get("status") != "True"
            operator_again()
        killed_when(space, "jobs", "-l", f"{ROLE}=verify", path=".status.succeeded")
        operator_again()
        ensemble.wait(seconds=300)
        every_job_ran_once(space)
        first = ensemble.status["rollout"]

        with constant_load(ensemble, "net") as log:
            log.answers_again()
            space.apply("net", models(space.put("triple.onnx", affine_onnx(scale=3))), **SPEC)
            following = killed_when(
                space, "service", "net", path=r".metadata.annotations.ensembles\.dev/next"
            )
            assert _annotations(space)["ensembles.dev/active"] == first
            assert _annotations(space)["ensembles.dev/next"] == following
            log.answers_again()
            operator_again()
            ensemble.wait(seconds=300)
            live.eventually(lambda: len(space.items("deployments")) == 1, what="old servers stay")
            live.eventually(lambda: log.factors[-1] == 3, what="the old model answers")
        log.check(2, 3)
        every_job_ran_once(space)
        assert _annotations(space)["ensembles.dev/active"] == following
        assert "ensembles.dev/next" not in _annotations(space)
        assert space.get("service", "net")["spec"]["selector"]["ensembles.dev/rollout"] == following
        outcomes = [record["metadata"]["annotations"] for record in space.items("controllerrevisions")]
        assert sorted(o["ensembles.dev/outcome"] for o in outcomes) == ["Promoted", "Superseded"]


def _annotations(space: live.Namespace) -> dict[str, str]:
    found: dict[str, str] = space.get("service", "net")["metadata"]["annotations"]
    return found
