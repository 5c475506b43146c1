"""Storage behind a bad network: said with reason and attempt, and healed when the network is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from tests.e2e import live, together
from tests.e2e.badnetwork import bad_network, own_address
from tests.e2e.models import ramp_onnx
from tests.ports import free_port
from tests.storage.support.faultproxy import Trouble

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
WIDTH = 20_000
"""Floats in the model: 80 kB that can arrive cut, slowly or wrong, and show in the answer."""
REVISION = re.compile(rb"^GET .*/revisions/[0-9a-f]+/default/models/")
"""What only servers read."""


def _apply(space: live.Namespace, endpoint: str, **spec: Any) -> live.Ensemble:
    uri = space.put("net.onnx", ramp_onnx(WIDTH))
    models = [{"name": "net", "onnxruntime": {"source": {"uri": uri}}}]
    return space.apply("net", models, storage={"endpoint": endpoint}, **spec)


def _wait_for_trouble(ensemble: live.Ensemble, reason: str) -> Mapping[str, Any]:
    """The world's fault: Reconciling, with its attempt; nothing that a user must mend."""

    def look() -> tuple[Mapping[str, Any], dict[str, Mapping[str, Any]]] | None:
        # One reading: between attempts this lasts for seconds only.
        status = ensemble.status
        found = {condition["type"]: condition for condition in status.get("conditions", [])}
        return (status, found) if found.get("Reconciling", {}).get("reason") == reason else None

    status, found = live.eventually(look, seconds=420, what=ensemble.describe)
    assert "Stalled" not in found
    assert found["Ready"]["status"] == "False"
    assert status["attempt"] >= 1
    return found["Reconciling"]


def _wait_for_answers(ensemble: live.Ensemble) -> None:
    ensemble.wait(seconds=420)
    assert ensemble.condition("Reconciling") == ensemble.condition("Stalled") == {}
    data = np.ones((2, WIDTH), np.float32)
    answer = ensemble.infer("net", {"X": data})["Y"]
    np.testing.assert_array_equal(answer, data + np.arange(WIDTH, dtype=np.float32))


def refusing_storage(space: live.Namespace) -> None:
    port = free_port(own_address())
    ensemble = _apply(space, f"http://{own_address()}:{port}")
    said = _wait_for_trouble(ensemble, "StorageUnavailable")
    assert "spec.storage.endpoint" in said["message"]
    assert str(port) in said["message"]
    assert "attempt" in said["message"]
    with bad_network(port) as proxy:
        _wait_for_answers(ensemble)
        assert proxy.seen > 0


def _overcome(space: live.Namespace, trouble: Trouble, reason: str, **proxied: Any) -> None:
    """Trouble while assembling, until it was said."""
    with bad_network() as proxy:
        for name, value in proxied.items():
            setattr(proxy, name, value)
        proxy.befall(trouble)
        ensemble = _apply(space, proxy.endpoint)
        said = _wait_for_trouble(ensemble, reason)
        assert "attempt" in said["message"]
        assert proxy.seen > 0, "the trouble was met"
        assert space.objects("store/ensembles/") == [], "nothing is published meanwhile"
        proxy.befall(Trouble.NONE)
        _wait_for_answers(ensemble)


def hanging_storage(space: live.Namespace) -> None:
    _overcome(space, Trouble.HANG, "StorageUnavailable")


def busy_storage(space: live.Namespace) -> None:
    _overcome(space, Trouble.BUSY, "StorageUnavailable")


def truncating_storage(space: live.Namespace) -> None:
    _overcome(space, Trouble.TRUNCATE, "StorageUnavailable", long_body=1)


def corrupting_storage(space: live.Namespace) -> None:
    _overcome(space, Trouble.CORRUPT, "StorageCorrupt")


def slow_storage(space: live.Namespace) -> None:
    """Slowness is no fault: it only takes longer."""
    with bad_network() as proxy:
        proxy.befall(Trouble.SLOW)
        _wait_for_answers(_apply(space, proxy.endpoint))
        assert proxy.seen > 0


def _servers_fetch(space: live.Namespace, trouble: Trouble, reason: str) -> None:
    """Trouble that only the new servers meet."""
    with bad_network() as proxy:
        proxy.only = REVISION
        proxy.befall(trouble)
        ensemble = _apply(space, proxy.endpoint)
        _wait_for_trouble(ensemble, reason)
        assert ensemble.condition("Published")["status"] == "True"
        assert proxy.seen > 0, "the trouble was met"
        proxy.befall(Trouble.NONE)
        _wait_for_answers(ensemble)


def storage_broken_for_the_servers(space: live.Namespace) -> None:
    _servers_fetch(space, Trouble.BROKEN, "StorageUnavailable")


def storage_corrupting_for_the_servers(space: live.Namespace) -> None:
    _servers_fetch(space, Trouble.CORRUPT, "StorageCorrupt")


STORIES = (
    refusing_storage,
    hanging_storage,
    busy_storage,
    truncating_storage,
    corrupting_storage,
    slow_storage,
    storage_broken_for_the_servers,
    storage_corrupting_for_the_servers,
)


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    yield from together.begin(request, STORIES)


@pytest.mark.parametrize("story", [together.name_of(story) for story in STORIES])
def test_bad_storage_is_said_and_survived(story: str, results: dict[str, Future[None]]) -> None:
    results[story].result()
