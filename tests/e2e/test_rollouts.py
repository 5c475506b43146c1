"""Rollouts under clients that never rest: no request is lost, and none is answered by two revisions.

The ensemble's two models both multiply by the revision's number, so that its square is answered; a request
that met two revisions would be answered by their product.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc

from tests.e2e import live, together
from tests.e2e.badnetwork import bad_network
from tests.e2e.load import constant_load
from tests.e2e.models import affine_onnx
from tests.storage.support.faultproxy import Trouble

pytestmark = [pytest.mark.long, pytest.mark.cluster, pytest.mark.timeout(1800)]
CONSECUTIVE = 20
CHILDREN = "jobs,deployments,pods,services,configmaps,controllerrevisions,poddisruptionbudgets"
TENSOR = {"data_type": "TYPE_FP32", "dims": [4]}
STREAM_SECONDS = 12
"""How long the stream of answers below lasts: longer than a Service takes to move, shorter than the drain."""
SLOW_STREAM = f"""
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            data = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            sender = request.get_response_sender()
            for number in range({STREAM_SECONDS}):
                time.sleep(1)
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("Y", data + number)]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
"""


def squaring(space: live.Namespace, number: int) -> list[dict[str, Any]]:
    """The models of a revision: an ensemble that multiplies by number²."""
    source = {"uri": space.put(f"by-{number}.onnx", affine_onnx(scale=number))}
    steps = [
        {"model": "first", "inputs": [{"name": "X", "from": "X"}], "outputs": [{"name": "Y", "to": "M"}]},
        {"model": "second", "inputs": [{"name": "X", "from": "M"}], "outputs": [{"name": "Y", "to": "Y"}]},
    ]
    return [
        {"name": "first", "onnxruntime": {"source": source}},
        {"name": "second", "onnxruntime": {"source": source}},
        {"name": "net", "ensemble": {"steps": steps}},
    ]


def outcomes(ensemble: live.Ensemble) -> list[str]:
    return [entry["outcome"] for entry in ensemble.status["history"]]


def deployments(space: live.Namespace) -> list[str]:
    found = space.items("deployments")
    return [d["metadata"]["name"] for d in found if "deletionTimestamp" not in d["metadata"]]


def one_deployment_is_left(space: live.Namespace) -> None:
    live.eventually(lambda: len(deployments(space)) == 1, what=lambda: f"too many: {deployments(space)}")


def twenty_in_a_row(space: live.Namespace) -> None:
    spec: dict[str, Any] = {"rollout": {"retainSeconds": 0, "watchSeconds": 0}}
    ensemble = space.apply("net", squaring(space, 2), **spec)
    ensemble.wait()
    with constant_load(ensemble, "net") as log:
        for turn in range(CONSECUTIVE):
            log.answers_again()
            number = 3 if turn % 2 == 0 else 2
            space.apply("net", squaring(space, number), **spec)
            ensemble.wait(seconds=300)
        live.eventually(lambda: log.factors[-1] == 4, what="the last revision does not answer")
        one_deployment_is_left(space)
        log.answers_again()
    log.check(4, 9)
    changes = sum(one != other for one, other in zip(log.factors, log.factors[1:], strict=False))
    assert changes >= CONSECUTIVE, "not every rollout reached the clients"
    assert outcomes(ensemble) == ["RolledBack", "Promoted"], "two revisions, and the first serves again"


def changed_three_times_during_one(space: live.Namespace) -> None:
    """The last one wins; nothing of those between is left, and none of them is ever answered."""
    ensemble = space.apply("net", squaring(space, 2), rollout={"retainSeconds": 0})
    ensemble.wait()
    with constant_load(ensemble, "net") as log:
        for number in (3, 5, 7):
            space.apply("net", squaring(space, number), rollout={"retainSeconds": 0})
            # The first has servers already, the second is caught wherever it is by then.
            live.eventually(lambda: len(deployments(space)) > 1, what=ensemble.describe)
        ensemble.wait(seconds=300)
        live.eventually(lambda: log.factors[-1] == 49, what="the last spec does not serve")
        one_deployment_is_left(space)
    log.check(4, 9, 25, 49)
    assert outcomes(ensemble)[0] == "Promoted"
    rollout = ensemble.status["rollout"]
    live.eventually(lambda: _of_other_rollouts(space, rollout) == [], what="litter of other rollouts")


def _of_other_rollouts(space: live.Namespace, rollout: str) -> list[str]:
    return [
        f"{item['kind']}/{item['metadata']['name']}"
        for item in space.items("deployments,services,poddisruptionbudgets,pods")
        if item["metadata"].get("labels", {}).get("ensembles.dev/rollout", rollout) != rollout
    ]


def deleted_during_one(space: live.Namespace) -> None:
    ensemble = space.apply("net", squaring(space, 2), deletionPolicy="Delete")
    ensemble.wait()
    space.apply("net", squaring(space, 3), deletionPolicy="Delete")
    live.eventually(lambda: len(deployments(space)) > 1, what=ensemble.describe)
    ensemble.delete()
    live.eventually(lambda: not _left(space), what=lambda: f"left: {_left(space)}")
    assert not space.objects("store/ensembles/")


def _left(space: live.Namespace) -> list[str]:
    own = {"ConfigMap/kube-root-ca.crt"}
    found = {f"{item['kind']}/{item['metadata']['name']}" for item in space.items(CHILDREN)}
    return sorted(found - own)


def a_server_ends_during_one(space: live.Namespace) -> None:
    """One of two old servers is deleted while the new ones come: it drains like any other."""
    serving = {"resources": live.SMALL, "replicas": 2}
    ensemble = space.apply("net", squaring(space, 2), serving=serving)
    ensemble.wait()
    victim = space.items("pods", "ensembles.dev/role=server")[0]["metadata"]["name"]
    with constant_load(ensemble, "net") as log:
        log.answers_again()
        space.apply("net", squaring(space, 3), serving=serving)
        live.eventually(lambda: len(deployments(space)) > 1, what=ensemble.describe)
        space.kubectl("delete", "pod", victim, "--wait=false")
        ensemble.wait(seconds=300)
        live.eventually(lambda: log.factors[-1] == 9, what="the new revision does not answer")
        log.answers_again()
    log.check(4, 9)


def storage_gone_during_one_and_after(space: live.Namespace) -> None:
    """What runs serves on; new servers wait and say for what; once storage is back all goes on."""
    with bad_network() as proxy:
        storage = {"endpoint": proxy.endpoint}
        ensemble = space.apply("net", squaring(space, 2), storage=storage)
        ensemble.wait()
        following = squaring(space, 3)
        with constant_load(ensemble, "net") as log:
            proxy.befall(Trouble.CLOSE)
            space.apply("net", following, storage=storage)
            _says(ensemble, "StorageUnavailable")
            log.answers_again()
            proxy.befall(Trouble.NONE)
            ensemble.wait(seconds=420)
            live.eventually(lambda: log.factors[-1] == 9, what="the new revision does not answer")
            proxy.befall(Trouble.CLOSE)
            log.answers_again()
        log.check(4, 9)
        space.kubectl("patch", "ie", "net", "--type=merge", "-p", '{"spec": {"serving": {"replicas": 2}}}')
        _says(ensemble, "StorageUnavailable")
        assert ensemble.condition("Available")["status"] == "True"
        proxy.befall(Trouble.NONE)
        live.eventually(lambda: ensemble.status["replicas"] == "2/2", seconds=300, what=ensemble.describe)


def _says(ensemble: live.Ensemble, reason: str) -> None:
    live.eventually(
        lambda: ensemble.condition("Reconciling").get("reason") == reason, seconds=300, what=ensemble.describe
    )


def a_long_stream_ends_whole(space: live.Namespace) -> None:
    """A gRPC stream that is open while the Service moves gets all of its answers from the old server."""
    config: dict[str, Any] = {
        "input": [{"name": "X", **TENSOR}],
        "output": [{"name": "Y", **TENSOR}],
        "model_transaction_policy": {"decoupled": True},
    }
    streaming = {"name": "net", "python": {"source": {"inline": SLOW_STREAM}}, "config": config}
    spec: dict[str, Any] = {"rollout": {"retainSeconds": 0, "watchSeconds": 0}}
    ensemble = space.apply("net", [streaming], **spec)
    ensemble.wait(seconds=300)
    with _stream(ensemble) as answers:
        live.eventually(lambda: answers, what="the stream does not begin")
        other = {**streaming, "config": {**config, "instance_group": [{"count": 2}]}}
        space.apply("net", [other], **spec)
        live.eventually(lambda: answers[-1:] == ["final"], seconds=60, what=lambda: f"only {answers}")
    assert answers == [*range(STREAM_SECONDS), "final"]
    ensemble.wait(seconds=300)


@contextmanager
def _stream(ensemble: live.Ensemble) -> Iterator[list[Any]]:
    """Ask the model over a stream of its own; the list grows by each answer, and ends with "final"."""
    answers: list[Any] = []

    def heard(result: Any, error: Any) -> None:
        if error is not None:
            answers.append(repr(error))
        elif result.get_response().outputs:
            answers.append(int(result.as_numpy("Y")[0]))
        else:
            answers.append("final")

    with tritonclient.grpc.InferenceServerClient(f"{ensemble.address()}:8001") as client:
        client.start_stream(heard)
        tensor = tritonclient.grpc.InferInput("X", [4], "FP32")
        tensor.set_data_from_numpy(np.zeros(4, np.float32))
        client.async_stream_infer("net", [tensor], enable_empty_final_response=True)
        try:
            yield answers
        finally:
            client.stop_stream()


def test_a_drained_node(namespace: live.Namespace) -> None:
    """`kubectl drain` ends one of two servers, waits for the budget, and gets no further on a single node."""
    ensemble = namespace.apply(
        "drained", squaring(namespace, 2), serving={"resources": live.SMALL, "replicas": 2}, entrypoint="net"
    )
    ensemble.wait()
    (node,) = (node["metadata"]["name"] for node in live.get("nodes")["items"])
    drain = (
        "drain",
        node,
        "--pod-selector=ensembles.dev/ensemble=drained",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=30s",
    )
    with constant_load(ensemble, "net") as log:
        log.answers_again()
        try:
            said = live.kubectl(*drain, check=False)
            assert "would violate the pod's disruption budget" in said
            log.answers_again()
            assert ensemble.condition("Available")["status"] == "True"
        finally:
            live.kubectl("uncordon", node)
        live.eventually(lambda: ensemble.status["replicas"] == "2/2", seconds=300, what=ensemble.describe)
        log.answers_again()
    log.check(4)


STORIES = (
    twenty_in_a_row,
    changed_three_times_during_one,
    deleted_during_one,
    a_server_ends_during_one,
    storage_gone_during_one_and_after,
    a_long_stream_ends_whole,
)


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    yield from together.begin(request, STORIES)


@pytest.mark.parametrize("story", [together.name_of(story) for story in STORIES])
def test_rollouts_under_load(story: str, results: dict[str, Future[None]]) -> None:
    results[story].result()
