"""Going back: by the command line, and by itself; operator, API server and controllers are real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ensemble_cli.exits import Exit
from ensemble_cli.main import main
from ensemble_operator.apply.executor import Target
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.kinds import ENSEMBLE, JOB, POD, SERVICE
from tests.operator.conftest import CreateEnsemble, StartOperator
from tests.operator.control_plane import ControlPlane, OperatorProcess, eventually
from tests.operator.fake_kubelet import FakeKubelet
from tests.operator.test_lifecycle import ALONE, World, condition, edit, names_of, status, wait_for

pytestmark = pytest.mark.apiserver

WATCHED = {"retainSeconds": 300, "watchSeconds": 300}


@pytest.fixture
def world(api: KubernetesApi, namespace: str) -> Iterator[World]:
    world = World()
    with FakeKubelet(api, namespace, world.decide):
        yield world


@pytest.fixture
def operator(start_operator: StartOperator, world: World) -> OperatorProcess:
    assert world
    started = start_operator(ALONE)
    started.wait_for('"working"')
    return started


@pytest.fixture
def second(api: KubernetesApi, operator: OperatorProcess, create_ensemble: CreateEnsemble) -> Target:
    """An ensemble whose second revision serves, while the servers of the first are retained."""
    assert operator
    target = create_ensemble(rollout=WATCHED)
    wait_for(api, target, "Ready")
    edit(api, target, "s3://models/other.onnx")
    eventually(lambda: len(history(api, target)) == 2, seconds=60, what="the second rollout")
    wait_for(api, target, "Ready")
    return target


def history(api: KubernetesApi, target: Target) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = status(api, target).get("history", [])
    return found


def outcomes(api: KubernetesApi, target: Target) -> list[str]:
    return [record["outcome"] for record in history(api, target)]


def selected(api: KubernetesApi, target: Target) -> str | None:
    selector = api.get(SERVICE, target.namespace, target.name)["spec"]["selector"]
    found: str | None = selector.get("ensembles.dev/rollout")
    return found


def test_by_hand_only_the_service_moves(
    api: KubernetesApi, control_plane: ControlPlane, second: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    first = history(api, second)[1]
    jobs, pods = names_of(api, JOB, second.namespace), names_of(api, POD, second.namespace)
    where = ["--kubeconfig", str(control_plane.kubeconfig), "-n", second.namespace]

    code = main(["rollback", "demo", "--cause", "wrong labels", "--wait", "60", *where])

    assert code == Exit.DONE, capsys.readouterr().err
    assert selected(api, second) == first["rollout"]
    assert names_of(api, JOB, second.namespace) <= jobs
    assert names_of(api, POD, second.namespace) <= pods
    assert outcomes(api, second) == ["RolledBack", "Promoted"]
    assert history(api, second)[1]["message"].endswith("by kubectl-ensemble: wrong labels")
    assert main(["unpin", "demo", "--wait", "60", *where]) == Exit.DONE
    assert outcomes(api, second) == ["Promoted", "Superseded"]
    assert names_of(api, JOB, second.namespace) <= jobs


def test_an_unknown_revision_is_told_and_serves_on(api: KubernetesApi, second: Target) -> None:
    before = selected(api, second)
    pin = {"spec": {"rollout": {"pinRevision": "9" * 64}}}
    api.patch(ENSEMBLE, second.namespace, second.name, pin)
    wait_for(api, second, "Stalled", "RevisionUnknown")
    assert selected(api, second) == before
    assert condition(api, second, "Available")["status"] == "True"


def crash(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The status of a pod whose server has ended twice, and waits to be started again."""
    since = pod["status"]["startTime"]
    ended = {"exitCode": 139, "reason": "Error", "message": "Segmentation fault", "startedAt": since,
             "finishedAt": since}  # fmt: skip
    server = {"name": "tritonserver", "image": "fake", "imageID": "fake", "ready": False, "restartCount": 2,
              "started": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
              "lastState": {"terminated": ended}}  # fmt: skip
    conditions = [
        {**each, "status": "False"} if each["type"] in {"Ready", "ContainersReady"} else each
        for each in pod["status"]["conditions"]
    ]
    return {"conditions": conditions, "containerStatuses": [server]}


def test_by_itself_though_the_operator_is_killed(
    api: KubernetesApi, operator: OperatorProcess, start_operator: StartOperator, second: Target
) -> None:
    new, old = (record["rollout"] for record in history(api, second))
    for pod in api.list(POD, second.namespace).items:
        if pod["metadata"]["labels"].get("ensembles.dev/rollout") == new:
            name = pod["metadata"]["name"]
            api.patch(POD, second.namespace, name, {"status": crash(pod)}, subresource="status")
    eventually(lambda: outcomes(api, second)[0] == "Failed", seconds=60, what="the failure is noted")
    operator.kill()
    start_operator(ALONE).wait_for('"working"')
    eventually(lambda: selected(api, second) == old, seconds=60, what="the Service goes back")
    wait_for(api, second, "Stalled", "FailedAfterPromotion")
    message = condition(api, second, "Stalled")["message"]
    assert "ended with exit code 139: Segmentation fault" in message
    eventually(
        lambda: condition(api, second, "Available").get("status") == "True", seconds=60, what="it serves"
    )
    eventually(lambda: outcomes(api, second) == ["Failed", "Promoted"], what="the history tells it")
