"""The operator as a process, watching a real API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ensemble_operator.apply.executor import Target
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import ApiError
from ensemble_operator.cluster.kinds import CONFIG_MAP, ENSEMBLE, JOB
from tests.operator.conftest import CONFIG, CreateEnsemble, StartOperator
from tests.operator.control_plane import ControlPlane, OperatorProcess, eventually

pytestmark = pytest.mark.apiserver

ALONE = "--no-leader-election"


def ready_condition(api: KubernetesApi, target: Target) -> dict[str, Any]:
    status = api.get(ENSEMBLE, target.namespace, target.name).get("status", {})
    found = [c for c in status.get("conditions") or () if c["type"] == "Ready"]
    return dict(found[0]) if found else {}


def jobs(api: KubernetesApi, namespace: str) -> list[str]:
    return [item["metadata"]["name"] for item in api.list(JOB, namespace).items]


def wait_for_jobs(api: KubernetesApi, namespace: str, *, seconds: float = 20) -> list[str]:
    return eventually(lambda: jobs(api, namespace), seconds=seconds, what="the assemble Job")


def log_time(process: OperatorProcess, message: str) -> str:
    for line in process.log.read_text().splitlines():
        document = json.loads(line)
        if document["message"] == message:
            return str(document["time"])
    raise AssertionError(f"{message} is not in the log")


def test_new_ensemble_is_worked_on_at_once(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, namespace: str
) -> None:
    operator = start_operator(ALONE)
    operator.wait_for('"working"')
    target = create_ensemble()
    wait_for_jobs(api, namespace, seconds=2)
    eventually(lambda: ready_condition(api, target).get("reason") == "Assembling", what="the status")
    live = api.get(ENSEMBLE, namespace, target.name)
    assert "annotations" not in live["metadata"], "nothing is written beside the status"
    assert "finalizers" not in live["metadata"]
    assert operator.ask("/healthz")[0] == 200


def test_existing_ensembles_are_worked_on_at_the_start(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, namespace: str
) -> None:
    for number in range(5):
        create_ensemble(f"e{number}")
    operator = start_operator(ALONE)
    operator.wait_for('"working"')
    eventually(lambda: len(jobs(api, namespace)) == 5, seconds=5, what="five assemble Jobs")
    assert 'ensemble_operator_jobs_created_total{role="assemble"} 5.0' in operator.metrics()


def test_config_map_that_comes_later(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, namespace: str
) -> None:
    start_operator(ALONE).wait_for('"working"')
    source = {"configMap": {"name": "pipes", "key": "pipe.py"}}
    target = create_ensemble(models=[{"name": "pre", "dali": {"source": source}}])
    eventually(lambda: ready_condition(api, target).get("reason") == "ConfigMapMissing", what="the reason")
    assert jobs(api, namespace) == []
    api.create(
        CONFIG_MAP,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "pipes", "namespace": namespace},
            "data": {"pipe.py": "x = 1"},
        },
    )
    wait_for_jobs(api, namespace, seconds=8)


def test_watches_survive_a_restart_of_the_api_server(
    api: KubernetesApi,
    control_plane: ControlPlane,
    start_operator: StartOperator,
    create_ensemble: CreateEnsemble,
    namespace: str,
) -> None:
    operator = start_operator(ALONE)  # with a Lease, an outage of ten seconds ends the process
    operator.wait_for('"working"')
    create_ensemble("before")
    wait_for_jobs(api, namespace)
    control_plane.tool("restart", "apiserver")
    eventually(lambda: _answers(api), seconds=60, what="the API server answers again")
    create_ensemble("after")
    eventually(lambda: len(jobs(api, namespace)) == 2, seconds=40, what="the second assemble Job")
    assert operator.process.poll() is None, operator.log.read_text()
    assert operator.ask("/healthz")[0] == 200


def _answers(api: KubernetesApi) -> bool:
    try:
        api._request("GET", "/version")
    except ApiError:
        return False
    return True


def test_deletion_while_the_operator_is_away(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, namespace: str
) -> None:
    first = start_operator(ALONE)
    first.wait_for('"working"')
    target = create_ensemble(deletionPolicy="Delete")
    wait_for_jobs(api, namespace)
    assert api.get(ENSEMBLE, namespace, target.name)["metadata"]["finalizers"] == ["ensembles.dev/storage"]
    assert first.end() == 0
    api.delete(ENSEMBLE, namespace, target.name, uid=target.uid)
    second = start_operator(ALONE)
    second.wait_for('"working"')
    eventually(lambda: any("prune" in name for name in jobs(api, namespace)), what="the prune Job")
    assert not any("-asm-" in name for name in jobs(api, namespace)), "what was building is gone"


def test_invalid_spec_is_told_and_nothing_is_created(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, namespace: str
) -> None:
    start_operator(ALONE).wait_for('"working"')
    target = create_ensemble(runtime={"release": "99"})
    condition = eventually(
        lambda: (
            ready_condition(api, target) if ready_condition(api, target).get("status") == "False" else None
        ),
        what="the condition",
    )
    assert condition["reason"] == "UnknownRelease"
    assert "spec.runtime.release" in condition["message"]
    assert jobs(api, namespace) == []


def test_metrics_tell_a_failure_once_and_its_ensemble_for_as_long_as_it_is_there(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, namespace: str
) -> None:
    failures = 'ensemble_operator_failures_total{reason="UnknownRelease"}'
    stands = f'ensemble="demo",ensemble_namespace="{namespace}"'
    first = start_operator(ALONE)
    first.wait_for('"working"')
    assert f"{failures} 0.0" in first.metrics()
    target = create_ensemble(runtime={"release": "99"})
    eventually(lambda: f"{failures} 1.0" in first.metrics(), what="the failure in the metrics")
    shown = f'ensemble_operator_ensemble_reason{{{stands},reason="UnknownRelease"}} 1.0'
    eventually(lambda: shown in first.metrics(), what="the ensemble in the metrics")
    assert first.end() == 0
    second = start_operator(ALONE)
    second.wait_for('"working"')
    passes = "ensemble_operator_reconcile_seconds_count 0.0"
    eventually(lambda: shown in second.metrics() and passes not in second.metrics(), what="a pass over it")
    assert f"{failures} 0.0" in second.metrics(), "the first process has told it"
    create_ensemble("later", runtime={"release": "99"})
    eventually(lambda: f"{failures} 1.0" in second.metrics(), what="what is new, by the watch")
    api.delete(ENSEMBLE, namespace, target.name, uid=target.uid)
    eventually(lambda: stands not in second.metrics(), what="the series go with the ensemble")


def test_only_the_listed_namespaces_are_watched(
    api: KubernetesApi, start_operator: StartOperator, create_ensemble: CreateEnsemble, namespace: str
) -> None:
    other = f"{namespace}-other"
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}}
    api._request("POST", "/api/v1/namespaces", body=manifest)
    operator = start_operator(ALONE, config=f"{CONFIG}\nwatchNamespaces: [{other}]\n")
    operator.wait_for('"working"')
    target = create_ensemble()
    here = api.get(ENSEMBLE, namespace, target.name)
    copy = {**here, "metadata": {"name": "there", "namespace": other}}
    api.create(ENSEMBLE, copy)
    wait_for_jobs(api, other)
    assert jobs(api, namespace) == []
    api._request("DELETE", f"/api/v1/namespaces/{other}")


def test_unreadable_configuration_is_told(start_operator: StartOperator) -> None:
    operator = start_operator(ALONE, config="toolsImage: x\nreleasez: {}\n")
    assert operator.process.wait(30) == 2
    assert operator.logged("releasez")
