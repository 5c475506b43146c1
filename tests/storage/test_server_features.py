"""What a config asks of the server works: response cache, rate limiter, warm-up.

The real tritonserver is started with the options that the published manifest derives from the configs. It is
older than metrics of single models (`model_metrics`).
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput

from ensemble_cli.exits import Exit
from ensemble_cli.laptop.serving import read_manifest
from ensemble_cli.main import main
from tests.storage.support.triton import RunningServer, program, tritonserver
from tests.storage.test_laptop import write
from tests.storage.test_verify import CODE

IO = {
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}],
}
COUNTED = "np.full_like(x, (globals().__setitem__('n', globals().get('n', 0) + len(x)), globals()['n'])[1])"
"""How many rows this instance has seen, those of this request among them."""
WARM_UP = {
    "name": "three",
    "batch_size": 1,
    "count": 3,
    "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [3], "zero_data": True}},
}
LIMITER = {"resources": [{"name": "scarce", "count": 2}], "priority": 1}


def model(name: str, **config: Any) -> dict[str, Any]:
    source = {"inline": CODE.format(expression=COUNTED)}
    return {"name": name, "maxBatchSize": 4, "python": {"source": source}, "config": {**IO, **config}}


@dataclass(frozen=True)
class Featured:
    args: tuple[str, ...]
    server: RunningServer


@pytest.fixture(scope="module")
def featured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Featured]:
    folder = tmp_path_factory.mktemp("features")
    models = [
        model("plain"),
        model("cached", response_cache={"enable": True}),
        model("warm", model_warmup=[WARM_UP]),
        model("limited", instance_group=[{"count": 1, "kind": "KIND_CPU", "rate_limiter": LIMITER}]),
    ]
    assert main(["build", write(folder / "e.yaml", models), "--to", str(folder / "out")]) == Exit.DONE
    args = read_manifest(folder / "out").server.args
    caches = program().backends.parent / "caches"
    more = (*args, f"--cache-directory={caches}", "--log-verbose=1")
    with tritonserver(folder / "out/models", folder / "log", *more) as running:
        yield Featured(args, running)


def ask(server: RunningServer, name: str) -> float:
    value = InferInput("x", [1, 3], "FP32")
    value.set_data_from_numpy(np.zeros((1, 3), np.float32))
    with InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        return float(client.infer(name, [value]).as_numpy("y")[0, 0])


def metric(server: RunningServer, name: str, model: str) -> float:
    """Value of a metric of one model; 0 where it is absent."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(rf'^{name}{{[^}}]*model="{model}"[^}}]*}} (\S+)$', text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def test_a_cached_answer_asks_the_model_once(featured: Featured) -> None:
    assert any(arg.startswith("--cache-config=local,size=") for arg in featured.args)
    assert [ask(featured.server, "cached") for _ in range(3)] == [1, 1, 1]
    assert metric(featured.server, "nv_cache_num_hits_per_model", "cached") == 2
    assert [ask(featured.server, "plain") for _ in range(2)] == [1, 2]


def test_warm_up_requests_come_before_the_first_of_a_client(featured: Featured) -> None:
    assert ask(featured.server, "warm") == 4


def test_the_rate_limiter_is_on_and_answers(featured: Featured) -> None:
    assert "--rate-limit=execution_count" in featured.args
    assert ask(featured.server, "limited") == 1
    log = featured.server.log.read_text()
    assert re.search(r"rate_limit +\| EXEC_COUNT", log)
    assert re.search(r"Resource: scarce\W+t Count: 2", log)
