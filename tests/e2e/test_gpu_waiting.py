"""One GPU for several: who waits says for what, since when and who holds it, and goes on when it is free.

The node only claims the GPU; scheduler and kubelet count it like a real one.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.e2e import live, localnode
from tests.e2e.models import affine_onnx, multiplies_by

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
PATIENCE = 420
SINCE = re.compile(r"\(since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\)$")
TARGET = {"name": "gpu", "gpu": {"product": localnode.PRODUCT}}
SERVING = {"resources": live.SMALL, "targets": [TARGET], "drainSeconds": 1}


def multiplies(ensemble: live.Ensemble, factor: float) -> None:
    ensemble.wait(seconds=PATIENCE)
    data = np.arange(8, dtype=np.float32).reshape(2, 4)
    (answer,) = ensemble.infer("net", {"X": data}).values()
    np.testing.assert_array_equal(answer, data * factor)


def waits_for_gpu(ensemble: live.Ensemble, *words: str, reason: str = "WaitingForGPU") -> None:
    """Reconciling, not Stalled, with since when; the message has these words."""

    def said() -> bool:
        found = ensemble.condition("Reconciling")
        message = found.get("message", "")
        return found.get("reason") == reason and all(word in message for word in words)

    live.eventually(said, seconds=PATIENCE, what=ensemble.describe)
    assert SINCE.search(ensemble.condition("Reconciling")["message"])
    assert ensemble.condition("Stalled") == {}
    assert ensemble.status["failingSince"]


def test_waiting_for_the_only_gpu(namespace: live.Namespace) -> None:
    localnode.require()
    with localnode.fake_gpus():
        first = namespace.apply("first", multiplies_by(namespace, 2), serving=SERVING)
        waits_for_gpu(first, "nodes are available")
        localnode.claim_gpus(1)
        multiplies(first, 2)

        second = namespace.apply("second", multiplies_by(namespace, 3), serving=SERVING)
        waits_for_gpu(second, "Insufficient nvidia.com/gpu")
        assert "own server" not in second.condition("Reconciling")["message"]
        first.delete()
        multiplies(second, 3)

        # What is changed now needs a second GPU for the time of the switch, or the first one's server to go.
        changed = multiplies_by(namespace, 4)
        namespace.apply("second", changed, serving=SERVING)
        waits_for_gpu(second, "own server", "Recreate", "maxSurge 0", reason="GPUExhausted")
        assert second.condition("Available")["status"] == "True"
        namespace.apply("second", changed, serving=SERVING, build={"whenGPUBusy": "StopServing"})
        multiplies(second, 4)
        namespace.apply(
            "second", multiplies_by(namespace, 6), serving=SERVING, rollout={"strategy": "Recreate"}
        )
        multiplies(second, 6)

        # An engine is built on the only GPU type there is, though none was named; the build waits in turn.
        source = {"uri": namespace.put("engine.onnx", affine_onnx(scale=5))}
        engine = namespace.apply("engine", [{"name": "net", "tensorrt": {"source": source}}])
        waits_for_gpu(engine, "Insufficient nvidia.com/gpu")
        (job,) = namespace.items("jobs", "ensembles.dev/role=build")
        pod = job["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"nvidia.com/gpu.product": localnode.PRODUCT}
        engine.delete()
        live.eventually(
            lambda: not namespace.items("jobs", "ensembles.dev/role=build"), what="the build stays"
        )
