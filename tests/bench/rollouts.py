"""What clients see of a rollout, beside steady state and beside a plain Deployment that is updated by hand.

    make bench-rollouts          prints the tables

Needs the cluster with images and operator, as bench.py. One HTTP client that never lets go of its connection,
two that renew theirs every ten seconds, and two over gRPC ask, each one request after the other, up to 30 a
second. The plain Deployment has the image, the model and the requests of the operator's; all else is as
Kubernetes has it by default.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from tests.bench.bench import make_namespace
from tests.e2e import live
from tests.e2e.load import Log, constant_load
from tests.e2e.models import multiplies_by

TURNS = 3
STEADY_SECONDS = 20
ROLLOUT = {"retainSeconds": 120, "watchSeconds": 30}
AFTER_SECONDS = 45
"""Longer than a server takes to drain and end: requests lost late count, too."""


@dataclass(frozen=True)
class Window:
    """What clients saw in a span of time. Latencies in milliseconds."""

    requests: int
    failed: int
    p50: float
    p99: float
    worst: float

    def row(self, name: str) -> str:
        timings = f"{self.p50:.1f} | {self.p99:.1f} | {self.worst:.0f}"
        return f"| {name} | {self.requests} | {self.failed} | {timings} |"


@contextmanager
def window(log: Log) -> Iterator[list[Window]]:
    """The list holds the window once the block has ended."""
    found: list[Window] = []
    before = len(log.timings), len(log.failures)
    yield found
    seconds = np.array([took for _, took in log.timings[before[0] :]])
    p50, p99, worst = 1000 * np.percentile(seconds, [50, 99, 100])
    failed = len(log.failures) - before[1]
    found.append(Window(len(seconds) + failed, failed, p50, p99, worst))


def main() -> None:
    live.kubectl("version")
    space = make_namespace()
    try:
        print("| | requests | failed | p50 ms | p99 ms | worst ms |")
        print("|---|---|---|---|---|---|")
        seconds = _ours(space)
        rollout = space.get("ie", "net")["status"]["rollout"]
        _plain(space, rollout, probes=True)
        _plain(space, rollout, probes=False)
        print()
        for name, taken in seconds.items():
            print(f"{name}: {', '.join(f'{value:.1f}' for value in taken)} s")
    finally:
        live.kubectl("delete", "namespace", space.name, "--wait=false")


def _ours(space: live.Namespace) -> dict[str, list[float]]:
    """Prints rows for steady state, rollouts, and going back to retained servers; seconds of both."""
    ensemble = space.apply("net", multiplies_by(space, 2), rollout=ROLLOUT)
    ensemble.wait()
    promoted: list[float] = []
    back: list[float] = []
    with constant_load(ensemble, "net") as log:
        log.answers_again()
        with window(log) as steady:
            time.sleep(STEADY_SECONDS)
        print(steady[0].row("steady"))
        for turn in range(TURNS):
            number, revision = 3 + turn, ensemble.status["revision"]
            with window(log) as during:
                promoted.append(_until_ready(ensemble, number, ROLLOUT))
                time.sleep(AFTER_SECONDS)
            print(during[0].row("rollout"))
            with window(log) as during:
                back.append(_until_answered(ensemble, number, log, revision))
                time.sleep(AFTER_SECONDS)
            print(during[0].row("rollback"))
            _until_ready(ensemble, number, ROLLOUT)
    assert not log.failures, log.failures[:5]
    return {"apply to Ready, another model": promoted, "pinRevision to its first answer": back}


def _until_ready(ensemble: live.Ensemble, number: int, rollout: dict[str, Any]) -> float:
    start = time.monotonic()
    ensemble.namespace.apply(ensemble.name, multiplies_by(ensemble.namespace, number), rollout=rollout)
    ensemble.wait(seconds=300)
    return time.monotonic() - start


def _until_answered(ensemble: live.Ensemble, number: int, log: Log, revision: str) -> float:
    """Pin the revision of the number before; seconds until one of its servers answers a client."""
    start = time.monotonic()
    pinned = {**ROLLOUT, "pinRevision": revision}
    ensemble.namespace.apply(ensemble.name, multiplies_by(ensemble.namespace, number), rollout=pinned)
    live.eventually(lambda: log.factors[-1] == number - 1, every=0.02, what=ensemble.describe)
    seconds = time.monotonic() - start
    ensemble.wait()
    return seconds


def _plain(space: live.Namespace, rollout: str, *, probes: bool) -> None:
    """The rows of a Deployment with Kubernetes' defaults, made of this rollout's and restarted by hand."""
    name = f"plain-{'ready' if probes else 'bare'}"
    (ours,) = space.items("deployments", f"ensembles.dev/rollout={rollout}")
    manifest = _with_defaults(ours, name, probes=probes)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"bench": name}, "ports": _ports()},
    }
    space.kubectl("apply", "-f", "-", text=yaml.safe_dump_all([manifest, service]))
    space.kubectl("rollout", "status", f"deployment/{name}", "--timeout=300s")
    time.sleep(10)  # without probes nobody says when it serves
    plain = live.Ensemble(space, name)
    with constant_load(plain, "net") as log:
        log.answers_again()
        for _ in range(TURNS):
            with window(log) as during:
                space.kubectl("rollout", "restart", f"deployment/{name}")
                space.kubectl("rollout", "status", f"deployment/{name}", "--timeout=300s")
                time.sleep(AFTER_SECONDS)
            print(during[0].row(f"plain Deployment, {'readiness probe' if probes else 'no probe'}"))
    space.kubectl("delete", "deployment,service", name)


def _with_defaults(ours: dict[str, Any], name: str, *, probes: bool) -> dict[str, Any]:
    pod = copy.deepcopy(ours["spec"]["template"]["spec"])
    pod.pop("terminationGracePeriodSeconds")
    server = pod["containers"][0]
    pod["containers"] = [server]
    server.pop("lifecycle")
    for probe in ("startupProbe", "livenessProbe", *(() if probes else ("readinessProbe",))):
        server.pop(probe)
    kept = ("--model-repository", "--http-port", "--grpc-port", "--metrics-port")
    server["args"] = [option for option in server["args"] if option.startswith(kept)]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"bench": name}},
            "template": {"metadata": {"labels": {"bench": name}}, "spec": pod},
        },
    }


def _ports() -> list[dict[str, Any]]:
    ports = (("http", 8000, "http-direct"), ("grpc", 8001, "grpc"))
    return [{"name": name, "port": port, "targetPort": target} for name, port, target in ports]


if __name__ == "__main__":
    main()
