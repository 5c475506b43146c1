"""A canary behind a real Gateway: real routes, a real data plane, real clients of both protocols.

Compiles Traefik the first time, which takes minutes: `make test-gateway`.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from ensemble_operator.cluster.client import connect, find_cluster
from tests.conftest import CACHE
from tests.e2e import live
from tests.e2e.conftest import cluster, make_namespace, namespace, operator, s3
from tests.e2e.models import multiplies_by
from tests.gateway import gatewayapi, traefik
from tests.gateway.traefik import DataPlane

__all__ = ["cluster", "make_namespace", "namespace", "operator", "s3"]

pytestmark = [pytest.mark.cluster, pytest.mark.go, pytest.mark.gateway, pytest.mark.timeout(1800)]

CLASS = "ensembles-test"
OLD, NEW = 2.0, 3.0
CLIENTS = 2
"""Of each protocol."""


@dataclass
class Answers:
    """What clients of one protocol got: (moment, factor of the model that answered)."""

    got: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def share(self, *, since: float, until: float) -> tuple[float, int]:
        """Percent of the requests that the new servers answered, and how many requests there were."""
        counts = Counter(factor for moment, factor in self.got if since <= moment <= until)
        total = sum(counts.values())
        return 100 * counts[NEW] / max(1, total), total


def ask_http(port: int, stop: threading.Event, answers: Answers) -> None:
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=60)
    _ask(client, tritonclient.http, stop, answers)


def ask_grpc(port: int, stop: threading.Event, answers: Answers) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        _ask(client, tritonclient.grpc, stop, answers)


def _ask(client: Any, module: Any, stop: threading.Event, answers: Answers) -> None:
    data = np.arange(1, 5, dtype=np.float32).reshape(1, 4)
    tensor = module.InferInput("X", list(data.shape), "FP32")
    tensor.set_data_from_numpy(data)
    while not stop.is_set():
        try:
            factor = float(client.infer("net", [tensor]).as_numpy("Y")[0, 0])
            answers.got.append((time.monotonic(), factor))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client has no answer
            answers.failures.append(f"{time.strftime('%H:%M:%S')} {module.__name__}: {error!r}")
        time.sleep(0.02)


@contextmanager
def asking(plane: DataPlane) -> Iterator[dict[str, Answers]]:
    """Clients of both protocols, which ask and ask until the block ends."""
    stop = threading.Event()
    found = {"http": Answers(), "grpc": Answers()}
    targets: list[tuple[Callable[..., None], int, Answers]] = [
        (ask_http, plane.http, found["http"]),
        (ask_grpc, plane.grpc, found["grpc"]),
    ]
    threads = [
        threading.Thread(target=ask, args=(port, stop, answers), daemon=True)
        for ask, port, answers in targets
        for _ in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


@pytest.fixture
def plane(operator: None, tmp_path: Path) -> Iterator[DataPlane]:
    """Traefik, and the Gateway API in the cluster for as long as the test needs it."""
    program = traefik.build(CACHE)
    config = live.environment()["KUBECONFIG"]
    api = connect(find_cluster(Path(config)))
    gatewayapi.install(api, CACHE)
    live.kubectl("wait", "--for=condition=Established", "crd/httproutes.gateway.networking.k8s.io")
    live.kubectl("apply", "-f", "-", text=json.dumps(traefik.gateway_class(CLASS)))
    try:
        with traefik.running(program, config, tmp_path / "traefik.log") as found:
            yield found
    finally:
        gatewayapi.remove(api, CACHE)


def test_requests_are_shared_by_weight_and_none_is_lost(namespace: live.Namespace, plane: DataPlane) -> None:
    namespace.kubectl(
        "apply", "-f", "-", text=json.dumps(traefik.gateway("public", namespace.name, plane, of_class=CLASS))
    )
    gateway = {
        "parentRefs": [{"name": "public", "sectionName": "http"}],
        "grpc": {"parentRefs": [{"name": "public", "sectionName": "grpc"}]},
    }
    steps = [{"weight": 10, "pauseSeconds": 20}, {"weight": 50, "pauseSeconds": 20}]
    rollout = {"strategy": "Canary", "canary": {"steps": steps}, "retainSeconds": 0, "watchSeconds": 0}
    settings = {"gateway": gateway, "rollout": rollout}
    ensemble = namespace.apply("shared", multiplies_by(namespace, OLD), **settings)
    ensemble.wait(seconds=240)

    with asking(plane) as answers:
        live.eventually(lambda: all(a.got for a in answers.values()), seconds=60, what="no answers")
        for found in answers.values():
            found.failures.clear()  # of before the data plane knew the routes
        namespace.apply("shared", multiplies_by(namespace, NEW), **settings)
        spans = [during(ensemble, step) for step in (1, 2)]
        ensemble.wait(seconds=240)
        live.eventually(
            lambda: all({factor for _, factor in a.got[-40:]} == {NEW} for a in answers.values()),
            seconds=60,
            what="the new servers alone answer",
        )
    for protocol, found in answers.items():
        assert not found.failures, found.failures[:5]
        for weight, (since, until) in zip((10, 50), spans, strict=True):
            share, total = found.share(since=since, until=until)
            print(f"{protocol}: {share:.1f} % of {total} requests at weight {weight}")
            assert total > 40
            assert abs(share - weight) <= 4 + weight / 10
    for kind in ("httproute", "grpcroute"):
        (backend,) = namespace.get(kind, "shared")["spec"]["rules"][0]["backendRefs"]
        assert backend["name"] == "shared"
    live.eventually(
        lambda: not shares(namespace), what=lambda: f"only while requests are shared: {shares(namespace)}"
    )


def shares(space: live.Namespace) -> list[str]:
    """The Services by which a route tells rollouts apart."""
    names = [item["metadata"]["name"] for item in space.items("services")]
    return [name for name in names if name.endswith("-t")]


def during(ensemble: live.Ensemble, step: int) -> tuple[float, float]:
    """From when a step's share is in effect until its time is nearly over."""

    def at_step() -> bool:
        progress = ensemble.status.get("progress", {})
        return progress.get("step") == step and bool(progress.get("since"))

    live.eventually(at_step, seconds=240, every=0.5, what=ensemble.describe)
    begin = time.monotonic()
    live.eventually(lambda: not at_step(), seconds=120, every=0.5, what=ensemble.describe)
    return begin, time.monotonic() - 3
