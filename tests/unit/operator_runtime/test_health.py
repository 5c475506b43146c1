from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from ensemble_operator.health import Heartbeats, serve
from tests.unit.operator_runtime.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def heartbeats(clock: FakeClock) -> Heartbeats:
    return Heartbeats(monotonic=clock.monotonic)


@pytest.fixture
def server(heartbeats: Heartbeats) -> Iterator[ThreadingHTTPServer]:
    server = serve(heartbeats, port=0)
    yield server
    server.shutdown()
    server.server_close()


def ask(server: ThreadingHTTPServer, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_late_heartbeat_is_named(heartbeats: Heartbeats, clock: FakeClock) -> None:
    heartbeats.beat("worker-0", within=30)
    heartbeats.beat("event loop", within=5)
    clock.now += 6
    assert heartbeats.problems() == ["event loop: no sign of life for 6 s (limit 5 s)"]
    heartbeats.beat("event loop", within=5)
    assert heartbeats.problems() == []


def test_what_ended_properly_is_not_missed(heartbeats: Heartbeats, clock: FakeClock) -> None:
    heartbeats.beat("worker-0", within=1)
    heartbeats.stop("worker-0")
    clock.now += 100
    assert heartbeats.problems() == []


def test_fault_lasts_until_taken_back(heartbeats: Heartbeats) -> None:
    heartbeats.fault("watch of pods", "is behind")
    assert heartbeats.problems() == ["watch of pods: is behind"]
    heartbeats.fault("watch of pods", "")
    assert heartbeats.problems() == []


def test_probes(heartbeats: Heartbeats, clock: FakeClock, server: ThreadingHTTPServer) -> None:
    heartbeats.beat("worker-0", within=30)
    assert ask(server, "/healthz") == (200, {"problems": [], "ages": {"worker-0": 0.0}})
    assert ask(server, "/readyz")[0] == 503
    heartbeats.set_ready(ready=True)
    assert ask(server, "/readyz?verbose")[0] == 200
    clock.now += 31
    status, document = ask(server, "/healthz")
    assert status == 500
    assert document["problems"] == ["worker-0: no sign of life for 31 s (limit 30 s)"]
    assert ask(server, "/else")[0] == 404
