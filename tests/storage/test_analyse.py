"""analyse against two real tritonservers under load: an old one, and a new one that may be worse."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from ensemble_builder.commands import analyse
from ensemble_builder.commands.analyse.judging import Bounds
from ensemble_builder.commands.analyse.servers import Ports
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Result
from ensembles_api.reasons import Reason
from tests.ports import free_ports
from tests.storage.support.triton import tritonserver

OLD, NEW = "127.0.0.1", "127.0.0.2"
BOUNDS = Bounds(max_error_percent=1, max_latency_percent=150, min_requests=20)
CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 0
input [{{ name: "x" data_type: TYPE_FP32 dims: [3] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [3] }}]
"""
CODE = """
import time
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        self.count = 0

    def execute(self, requests):
        answers = []
        for request in requests:
            self.count += 1
            time.sleep({seconds})
            if {fails} and self.count % {fails} == 0:
                # A TritonError as the answer would count as success in the server's metrics (seen in 2.51).
                raise ValueError("broken on purpose")
            x = pb.get_input_tensor_by_name(request, "x").as_numpy()
            answers.append(pb.InferenceResponse([pb.Tensor("y", x)]))
        return answers
"""
GOOD = CODE.format(seconds=0.01, fails=0)
MODELS = {"good": (0.01, 0), "slow": (0.05, 0), "bad": (0.01, 5)}
"""Name -> seconds for each request, which of them fail (every nth), at the new server; at the old all are
good."""


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Of both servers: they differ in their address."""
    folder = tmp_path_factory.mktemp("servers")
    chosen = dict(zip(("http", "grpc", "metrics"), free_ports(3), strict=True))
    with ExitStack() as stack:
        for address in (OLD, NEW):
            repository = folder / address
            for name, (seconds, fails) in MODELS.items():
                model = repository / name
                (model / "1").mkdir(parents=True)
                (model / "config.pbtxt").write_text(CONFIG.format(name=name))
                worse = (
                    {"seconds": seconds, "fails": fails} if address == NEW else {"seconds": 0.01, "fails": 0}
                )
                (model / "1/model.py").write_text(CODE.format(**worse))
            log = folder / f"{address}.log"
            stack.enter_context(tritonserver(repository, log, address=address, ports=chosen))
        yield chosen


@contextmanager
def asking(model: str, port: int, *addresses: str, timeout: float = 30) -> Iterator[None]:
    """Two clients for each address, which ask and ask until the block ends."""
    stop = threading.Event()

    def ask(address: str) -> None:
        tensor = InferInput("x", [3], "FP32")
        tensor.set_data_from_numpy(np.zeros(3, np.float32))
        with InferenceServerClient(f"{address}:{port}") as client:
            while not stop.is_set():
                with suppress(InferenceServerException):
                    client.infer(model, [tensor], client_timeout=timeout)

    threads = [threading.Thread(target=ask, args=(address,)) for address in addresses for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def run(
    model: str, ports: dict[str, int], *, seconds: float = 6, old: str = OLD, bounds: Bounds = BOUNDS
) -> Result:
    return analyse.run(
        new_host=NEW,
        old_host=old,
        entrypoint=model,
        seconds=seconds,
        bounds=bounds,
        ports=Ports(http=ports["http"], metrics=ports["metrics"]),
        interval=0.5,
    )


def test_as_good_as_the_old_passes_with_figures(ports: dict[str, int]) -> None:
    bounds = Bounds(max_error_percent=1, max_latency_percent=300, min_requests=20)
    with asking("good", ports["grpc"], OLD, NEW):
        result = run("good", ports, bounds=bounds)
    assert result.analysis is not None
    assert result.analysis.new.requests >= 20
    assert result.analysis.new.failures == 0
    assert result.analysis.old.requests > 0
    assert 10_000 < result.analysis.new.mean_us < 1_000_000


def test_five_times_slower_fails_with_the_bound(ports: dict[str, int]) -> None:
    with asking("slow", ports["grpc"], OLD, NEW), pytest.raises(FaultError) as caught:
        run("slow", ports)
    fault = caught.value.fault
    assert fault.code is Reason.ANALYSIS_FAILED
    assert fault.field == "spec.rollout.analysis.maxLatencyPercent"
    assert "of the old servers' time, allowed are 150 %" in fault.message


def test_every_fifth_request_failing_fails(ports: dict[str, int]) -> None:
    with asking("bad", ports["grpc"], OLD, NEW), pytest.raises(FaultError) as caught:
        run("bad", ports)
    fault = caught.value.fault
    assert fault.code is Reason.ANALYSIS_FAILED
    assert fault.field == "spec.rollout.analysis.maxErrorPercent"
    assert "(20." in fault.message or "(19." in fault.message, fault.message


def test_failures_count_without_old_servers_too(ports: dict[str, int]) -> None:
    with asking("bad", ports["grpc"], NEW), pytest.raises(FaultError) as caught:
        run("bad", ports, old="")
    assert caught.value.fault.field == "spec.rollout.analysis.maxErrorPercent"
    assert "old servers: no requests" in caught.value.fault.message


def test_without_requests_there_is_no_verdict(ports: dict[str, int]) -> None:
    with pytest.raises(FaultError) as caught:
        run("good", ports, seconds=1)
    assert caught.value.fault.code is Reason.ANALYSIS_INCONCLUSIVE
    assert "0 requests reached the new servers, 20 are needed" in caught.value.fault.message


def test_without_metrics_there_is_no_verdict_and_it_says_why(ports: dict[str, int]) -> None:
    with pytest.raises(FaultError) as caught:
        run("missing", ports, seconds=1)
    assert caught.value.fault.code is Reason.ANALYSIS_INCONCLUSIVE
    assert "do not know model 'missing'" in caught.value.fault.message


def test_what_clients_cancel_is_no_failure(ports: dict[str, int]) -> None:
    """Clients whose patience is shorter than the slow model's queue."""
    bounds = Bounds(max_error_percent=0, max_latency_percent=100_000, min_requests=1)
    with (
        asking("slow", ports["grpc"], NEW, timeout=0.03),
        asking("slow", ports["grpc"], NEW, OLD),
    ):
        result = run("slow", ports, bounds=bounds)
    assert result.analysis is not None
    assert result.analysis.new.failures == 0
