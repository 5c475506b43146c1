"""What autoscalers ask: a real Prometheus, fed by a real tritonserver whose models queue."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import urllib3
from localcluster import build
from tritonclient.grpc import InferenceServerClient, InferInput

from ensemble_operator.resources import queries
from tests.conftest import CACHE
from tests.ports import free_port
from tests.storage.support.triton import RunningServer, tritonserver

pytestmark = pytest.mark.go

CLIENTS = 4
SECONDS = 0.02
"""How long the member takes for a request; it has one instance, and the ensemble asks it twice."""
TENSORS = """
input [{ name: "x" data_type: TYPE_FP32 dims: [1] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [1] }]
"""
MEMBER = f'name: "member"\nbackend: "python"\nmax_batch_size: 0\n{TENSORS}'
WHOLE = f"""
name: "whole"
platform: "ensemble"
{TENSORS}
ensemble_scheduling {{
  step [{{
    model_name: "member" model_version: -1
    input_map {{ key: "x" value: "x" }} output_map {{ key: "y" value: "between" }}
  }}, {{
    model_name: "member" model_version: -1
    input_map {{ key: "x" value: "between" }} output_map {{ key: "y" value: "y" }}
  }}]
}}
"""
CODE = f"""
import time
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            time.sleep({SECONDS})
            x = pb.get_input_tensor_by_name(request, "x").as_numpy()
            answers.append(pb.InferenceResponse([pb.Tensor("y", x)]))
        return answers
"""
SERVERS = queries.servers_of(namespace="demo", ensemble="net", rollout="abcd1234", target="l4")
OTHERS = queries.servers_of(namespace="demo", ensemble="net", rollout="ffff0000", target="l4")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("server")
    for name, config in (("member", MEMBER), ("whole", WHOLE)):
        (folder / "models" / name / "1").mkdir(parents=True)
        (folder / "models" / name / "config.pbtxt").write_text(config)
    (folder / "models/member/1/model.py").write_text(CODE)
    with tritonserver(folder / "models", folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; it reads the server once a second, under the labels of a pod."""
    build.build(CACHE, only=["prometheus"])
    folder, address = tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{free_port()}"
    found = {"targets": [f"127.0.0.1:{server.metrics}"], "labels": dict(SERVERS.labels)}
    scrape = {"job_name": "servers", "scrape_interval": "1s", "static_configs": [found]}
    (folder / "config.yaml").write_text(json.dumps({"scrape_configs": [scrape]}))
    command = [
        str(CACHE / "bin/prometheus"),
        f"--config.file={folder / 'config.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _eventually(lambda: _ready(address), folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def _ready(address: str) -> bool:
    try:
        return urllib3.request("GET", f"http://{address}/-/ready", retries=False, timeout=5).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _eventually(look: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + 60
    while not look():
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.2)


def ask(address: str, expression: str) -> float | None:
    """The one value, None where there is none."""
    answer = urllib3.request(
        "GET", f"http://{address}/api/v1/query", fields={"query": expression}, timeout=30
    ).json()
    assert answer["status"] == "success", answer
    samples = answer["data"]["result"]
    assert len(samples) <= 1, "an autoscaler adds several values up"
    return float(samples[0]["value"][1]) if samples else None


def first_value(address: str, expression: str) -> float:
    end = time.monotonic() + 30
    while (value := ask(address, expression)) is None:
        assert time.monotonic() < end, expression
        time.sleep(0.5)
    return value


@contextmanager
def load(server: RunningServer) -> Iterator[None]:
    stop = threading.Event()

    def client() -> None:
        tensor = InferInput("x", [1], "FP32")
        tensor.set_data_from_numpy(np.zeros(1, np.float32))
        with InferenceServerClient(f"127.0.0.1:{server.port}") as connection:
            while not stop.is_set():
                connection.infer("whole", [tensor])

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def told_by_the_server(server: RunningServer) -> float:
    """Mean queue time in µs for each request to the ensemble, by Triton's own statistics."""
    with InferenceServerClient(f"127.0.0.1:{server.port}") as connection:
        statistics = connection.get_inference_statistics(as_json=True)["model_stats"]
    models = {model["name"]: model["inference_stats"] for model in statistics}
    queued = sum(int(model["queue"].get("ns", 0)) for model in models.values())
    return queued / int(models["whole"]["success"]["count"]) / 1000


def test_the_expressions_say_what_the_server_says(server: RunningServer, prometheus: str) -> None:
    queue = queries.queue_microseconds(SERVERS, entrypoint="whole")
    pending = queries.pending_requests(SERVERS)
    assert first_value(prometheus, queue) == 0, "idle servers are known to be idle"
    assert first_value(prometheus, pending) == 0
    with load(server):
        time.sleep(8)
        waiting = []
        for _ in range(6):
            waiting.append(first_value(prometheus, pending))
            time.sleep(1)
        measured = first_value(prometheus, queue)
    time.sleep(3)
    # Rates are extrapolated to the whole window: a part of a second at its ends is a guess.
    assert first_value(prometheus, queue) == pytest.approx(told_by_the_server(server), rel=0.2)
    assert measured > 2 * SECONDS * 1e6, "all but one of the clients wait for the one instance, twice"
    assert 1 <= sum(waiting) / len(waiting) <= CLIENTS
    of_member = "sum(rate(nv_inference_request_success{model='member'}[1m]))"
    members_own = f"sum(rate(nv_inference_queue_duration_us[1m])) / {of_member}"
    assert first_value(prometheus, queue) == pytest.approx(2 * first_value(prometheus, members_own), rel=0.05)


def test_of_servers_that_are_not_scraped_nothing_is_said(prometheus: str) -> None:
    assert ask(prometheus, queries.queue_microseconds(OTHERS, entrypoint="whole")) is None
    assert ask(prometheus, queries.pending_requests(OTHERS)) is None


def test_the_rules_of_the_metrics_adapter_ask_the_same(prometheus: str, server: RunningServer) -> None:
    selector = {**SERVERS.labels, queries.LABEL_MODEL: "whole"}
    wanted = {
        queries.EXTERNAL_QUEUE: queries.queue_microseconds(SERVERS, entrypoint="whole"),
        queries.EXTERNAL_PENDING: queries.pending_requests(SERVERS),
    }
    for rule in queries.adapter_rules():
        query = str(rule["metricsQuery"])
        for label, value in selector.items():  # as the adapter's template does
            query = query.replace(f'<<index .LabelValuesByName "{label}">>', value)
        name = rule["name"]
        assert isinstance(name, dict)
        assert query == wanted[name["as"]]
        assert ask(prometheus, query) is not None
