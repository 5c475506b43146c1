"""The HTTP proxy of a server's pod before the real tritonserver: no request is lost when a pod ends."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.ports import free_ports
from tests.storage.support.httpproxy import Proxy, Service, http_proxy
from tests.storage.support.triton import RunningServer, tritonserver

CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 0
model_transaction_policy {{ decoupled: {decoupled} }}
input [{{ name: "x" data_type: TYPE_FP32 dims: [-1] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [-1] }}]
instance_group [{{ count: 2 kind: KIND_CPU }}]
"""
SCALE = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("y", x * x.dtype.type({factor}))]) for x in inputs]
"""
STREAM = """
import time
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for value in pb.get_input_tensor_by_name(request, "x").as_numpy():
                sender.send(pb.InferenceResponse([pb.Tensor("y", value.reshape(1))]))
                time.sleep({pause})
            sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
PAUSE = 0.4
BIG = 25_000_000
"""float32 values: 100 MB."""


@dataclass(frozen=True)
class Pod:
    """A server's pod: tritonserver with the proxy before it."""

    server: RunningServer
    http: int
    proxy: Proxy


def repository(folder: Path, *, factor: int = 1) -> Path:
    models = {"scale": SCALE.format(factor=factor), "stream": STREAM.format(pause=PAUSE)}
    for name, code in models.items():
        (folder / name / "1").mkdir(parents=True)
        decoupled = str(name == "stream").lower()
        (folder / name / "config.pbtxt").write_text(CONFIG.format(name=name, decoupled=decoupled))
        (folder / name / "1/model.py").write_text(code)
    return folder


@contextmanager
def pod(folder: Path, *, factor: int = 1, grace: float = 5, age: float = 60) -> Iterator[Pod]:
    ports = dict(zip(("http", "grpc", "metrics", "proxy"), free_ports(4), strict=True))
    listen = ports.pop("proxy")
    models = repository(folder / "models", factor=factor)
    with (
        tritonserver(models, folder / "server.log", "--exit-timeout-secs=20", ports=ports) as server,
        http_proxy(folder / "proxy.log", port=listen, server=ports["http"], grace=grace, age=age) as proxy,
    ):
        yield Pod(server, ports["http"], proxy)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod that stays."""
    with pod(tmp_path_factory.mktemp("pod")) as running:
        yield running


@dataclass
class Clients:
    """tritonclient.http in closed loops, each on one connection for ever unless it is asked to leave."""

    port: int
    answers: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self, count: int) -> Iterator[None]:
        threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(60)

    def until(self, holds: Callable[[list[float]], bool]) -> None:
        """Until the answers are so; on a busy machine the first may take seconds."""
        end = time.monotonic() + 30
        while not holds(self.answers):
            assert time.monotonic() < end, f"{self.answers[-9:]}, {self.failures}"
            time.sleep(0.02)

    def _run(self) -> None:
        client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{self.port}")
        with closing(client):
            while not self._stop.is_set():
                try:
                    self.answers.append(scaled(client))
                except Exception as error:  # noqa: BLE001 - whatever it is, the client has no answer
                    self.failures.append(f"{type(error).__name__}: {error}")
                time.sleep(0.005)


def scaled(client: tritonclient.http.InferenceServerClient) -> float:
    values = np.arange(1, 5, dtype=np.float32)
    answer = client.infer("scale", [tensor(values)]).as_numpy("y")
    np.testing.assert_array_equal(answer, values * answer[0])
    return float(answer[0])


def tensor(values: np.ndarray[Any, np.dtype[np.float32]]) -> tritonclient.http.InferInput:
    value = tritonclient.http.InferInput("x", list(values.shape), "FP32")
    value.set_data_from_numpy(values)
    return value


def document(*values: float) -> str:
    return json.dumps(
        {"inputs": [{"name": "x", "shape": [len(values)], "datatype": "FP32", "data": list(values)}]}
    )


def test_a_pod_ends_without_losing_a_request(tmp_path: Path) -> None:
    """In a pod's order: SIGTERM for the proxy, the endpoint goes, and tritonserver's preStop hook ends."""
    grace = 4.0
    with ExitStack() as stack:
        going = stack.enter_context(pod(tmp_path / "going", factor=2, grace=grace))
        staying = stack.enter_context(pod(tmp_path / "staying", factor=3))
        service = Service(free_ports(1)[0], [going.proxy.port, staying.proxy.port])
        stack.enter_context(service.serving())
        clients = Clients(service.port)
        with clients.asking(6):
            clients.until(lambda answers: set(answers) == {2, 3})
            deleted = time.monotonic()
            going.proxy.terminate()
            time.sleep(1)
            # Until the endpoint is gone those who left may come back; from then on nobody does.
            service.endpoints.remove(going.proxy.port)
            time.sleep(0.5)
            before = len(clients.answers)
            time.sleep(0.5)
            clients.until(lambda answers: len(answers) > before)
            assert set(clients.answers[before:]) == {3}
            time.sleep(max(deleted + grace - time.monotonic(), 0))
            going.server.process.send_signal(signal.SIGTERM)
            assert going.proxy.process.wait(3) == 0, going.proxy.log.read_text()
            assert going.server.process.wait(10) == 0
            time.sleep(0.5)
        assert not clients.failures, f"{len(clients.failures)} of {len(clients.answers)}"


def test_connections_of_age_move_to_where_the_service_leads(tmp_path: Path) -> None:
    """A Service that moves leaves nobody behind, though the old servers live on."""
    with ExitStack() as stack:
        old = stack.enter_context(pod(tmp_path / "old", factor=2, age=2))
        new = stack.enter_context(pod(tmp_path / "new", factor=3, age=2))
        service = Service(free_ports(1)[0], [old.proxy.port])
        stack.enter_context(service.serving())
        clients = Clients(service.port)
        with clients.asking(4):
            clients.until(lambda answers: len(answers) > 0)
            time.sleep(0.5)
            service.endpoints[:] = [new.proxy.port]
            time.sleep(0.4)
            assert clients.answers[-1] == 2, "the connections are not of age yet"
            time.sleep(2)
            before = len(clients.answers)
            clients.until(lambda answers: len(answers) > before + 50)
        assert set(clients.answers[before:]) == {3}
        assert not clients.failures, f"{len(clients.failures)} of {len(clients.answers)}"


def test_a_hundred_megabytes_both_ways(serving: Pod) -> None:
    values = np.random.default_rng(1).random(BIG, dtype=np.float32)
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{serving.proxy.port}", network_timeout=120)
    with closing(client):
        answer = client.infer("scale", [tensor(values)]).as_numpy("y")
    np.testing.assert_array_equal(answer, values)


def test_a_stream_comes_as_it_is_made_and_outlives_the_end_of_its_pod(tmp_path: Path) -> None:
    with pod(tmp_path, grace=0.5) as ending:
        connection = http.client.HTTPConnection("127.0.0.1", ending.proxy.port, timeout=30)
        count, begun = 6, time.monotonic()
        connection.request("POST", "/v2/models/stream/generate_stream", json.dumps({"x": list(range(count))}))
        answer = connection.getresponse()
        events: list[tuple[float, float]] = []
        for line in answer:
            if line.startswith(b"data:"):
                events.append((time.monotonic() - begun, json.loads(line[5:])["y"]))
            if len(events) == 2:
                ending.proxy.terminate()
                ending.server.process.send_signal(signal.SIGTERM)
        assert [value for _, value in events] == list(range(count))
        assert events[0][0] < count * PAUSE / 2, "the first event waited for the others"
        connection.close()
        assert ending.proxy.process.wait(10) == 0, ending.proxy.log.read_text()


def test_a_chunked_upload_is_taken(serving: Pod) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", serving.proxy.port, timeout=30)
    pieces = (document(1, 2, 3)[n : n + 20].encode() for n in range(0, len(document(1, 2, 3)), 20))
    connection.request("POST", "/v2/models/scale/infer", pieces, encode_chunked=True)
    assert json.loads(connection.getresponse().read())["outputs"][0]["data"] == [1, 2, 3]
    connection.close()


@pytest.mark.parametrize("direct", [True, False])
def test_expect_continue(serving: Pod, *, direct: bool) -> None:
    body = document(4, 5).encode()
    port = serving.http if direct else serving.proxy.port
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client, client.makefile("rb") as file:
        client.sendall(
            b"POST /v2/models/scale/infer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        assert file.readline().startswith(b"HTTP/1.1 100 ")
        while file.readline().strip():
            pass
        client.sendall(body)
        assert file.readline().startswith(b"HTTP/1.1 200 ")


def test_headers_keep_their_letters(serving: Pod) -> None:
    """Header names are equal in any case, but some clients compare these letter by letter."""

    def names(port: int) -> set[str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        body = json.loads(document(1))
        body["outputs"] = [{"name": "y", "parameters": {"binary_data": True}}]
        connection.request("POST", "/v2/models/scale/infer", json.dumps(body))
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return {name for name, _ in answer.getheaders()}

    assert "Inference-Header-Content-Length" in names(serving.http)
    assert names(serving.proxy.port) == names(serving.http)


def test_a_client_that_leaves_takes_its_connection_along(tmp_path: Path) -> None:
    """Servers that cancel such requests must hear of it. 2.51 cancels none of HTTP: this asks no model."""
    port, behind = free_ports(2)
    with (
        socket.create_server(("127.0.0.1", behind)) as listener,
        http_proxy(tmp_path / "log", port=port, server=behind),
    ):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
            listener.settimeout(5)
            connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            with suppress(ConnectionResetError):
                while connection.recv(1000):
                    pass


def test_without_tritonserver_the_answer_says_so(tmp_path: Path) -> None:
    port, nobody = free_ports(2)
    with http_proxy(tmp_path / "log", port=port, server=nobody):
        client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{port}")
        with (
            closing(client),
            pytest.raises(InferenceServerException, match="does not accept connections") as error,
        ):
            scaled(client)
    assert error.value.status() == "503"


def test_silent_clients_do_not_keep_the_pod(tmp_path: Path) -> None:
    """A connection is kept for a client that is silent as long as the drain lasts, and no longer."""
    port, nobody = free_ports(2)
    with (
        http_proxy(tmp_path / "log", port=port, server=nobody, grace=0.5, hard_stop=1.5) as proxy,
        socket.create_connection(("127.0.0.1", port)) as silent,
    ):
        proxy.terminate()
        silent.settimeout(1.5)
        with pytest.raises(TimeoutError):
            silent.recv(1)
        assert proxy.process.wait(5) == 0
