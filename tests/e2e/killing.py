"""The operator ends without warning, and what its successor must not have done twice."""

from __future__ import annotations

from tests.e2e import live


def kill_operator() -> None:
    pods = live.operator_pods()
    assert pods, "no operator runs"
    for pod in pods:
        live.kubectl(
            *("-n", "ensemble-operator", "delete", "pod", pod, "--force", "--grace-period=0", "--wait=false")
        )


def operator_again() -> None:
    live.eventually(live.operator_pods, what="the operator does not come back")


def every_job_ran_once(space: live.Namespace) -> None:
    """No second attempt, and one pod for each, as Kubernetes' own Events tell."""
    pods: dict[str, int] = {}
    for event in space.items("events.v1.events.k8s.io"):
        if event["regarding"]["kind"] == "Job" and event["reason"] == "SuccessfulCreate":
            name = event["regarding"]["name"]
            pods[name] = pods.get(name, 0) + int((event.get("series") or {}).get("count", 1))
    assert pods
    assert {name: count for name, count in pods.items() if count != 1} == {}
    assert [name for name in pods if not name.endswith("-1")] == []
