"""Parsers on objects as a real API server gave them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ensemble_operator.observe.objects import has_ready_endpoint, parse_object, parse_rollout
from ensemble_operator.observe.pods import parse_pod
from ensemble_operator.observe.queues import parse_workload
from ensemble_operator.observe.workloads import (
    parse_deployment,
    parse_job,
    pods_by_owner,
    pods_of_deployment,
    pods_of_none,
)
from ensemble_operator.plan.observation import QueueSeen

Read = Callable[[str], Any]


def test_succeeded_job_with_its_message(captured: Read) -> None:
    job = captured("job-succeeded")
    pods = pods_by_owner(captured("pods-succeeded") + captured("pods-oom"))
    seen = parse_job(job, pods=pods[job["metadata"]["uid"]])
    assert (seen.state, seen.deleting, seen.suspended, seen.failed_reason) == ("succeeded", False, False, "")
    assert seen.annotations == {"ensembles.dev/round": "1"}
    assert seen.created.tzinfo == UTC
    assert seen.finished_at is not None
    assert seen.finished_at > seen.created
    (pod,) = seen.pods
    assert pod.phase == "Succeeded"
    fetch, assemble = pod.containers
    assert (fetch.name, fetch.init, fetch.exit_code, fetch.terminated_reason) == (
        "fetch",
        True,
        0,
        "Completed",
    )
    assert assemble.init is False
    assert assemble.termination_message == '{"contract":1,"cached":2}'
    assert pod.container("assemble") == assemble
    assert pod.container("nobody") is None


def test_a_job_that_kueue_took_off_its_node(captured: Read) -> None:
    seen = parse_job(captured("job-preempted"), pods=())
    assert (seen.state, seen.suspended, seen.finished_at) == ("active", True, None)
    assert seen.suspended_since is not None
    assert seen.suspended_since > seen.created
    found = parse_workload(captured("workload-preempted"))
    assert (found.stopped, found.active) == ("Preempted", True)
    assert found.message.startswith("couldn't assign flavors to pod set main: insufficient unused quota")


def test_a_workload_that_was_deactivated_or_is_checked_or_is_new(captured: Read) -> None:
    workload = captured("workload-preempted")
    workload["spec"]["active"] = False
    assert parse_workload(workload).active is False
    status = workload["status"]
    status["conditions"] = [{"type": "QuotaReserved", "status": "True", "reason": "QuotaReserved"}]
    status["admissionChecks"] = [
        {"name": "budget", "state": "Ready", "message": "fine"},
        {"name": "nodes", "state": "Pending", "message": "a node is made"},
        {"name": "region", "state": "Retry", "message": ""},
    ]
    said = "admission check nodes is Pending: a node is made; admission check region is Retry"
    assert parse_workload(workload).message == said
    new = {"metadata": workload["metadata"], "spec": {"queueName": "gpus"}}
    assert parse_workload(new) == QueueSeen()


def test_pod_over_its_deadline(captured: Read) -> None:
    seen = parse_job(captured("job-deadline"), pods=captured("pods-deadline"))
    assert seen.state == "failed"
    assert seen.failed_reason == "BackoffLimitExceeded"
    assert seen.finished_at is not None
    (pod,) = seen.pods
    assert (pod.phase, pod.reason) == ("Failed", "DeadlineExceeded")
    assert "longer than the specified deadline" in pod.message
    upload = pod.container("upload")
    assert upload is not None
    assert upload.exit_code not in (0, None)


def test_init_container_out_of_memory(captured: Read) -> None:
    (pod,) = parse_job(captured("job-oom"), pods=captured("pods-oom")).pods
    compile_ = pod.container("compile")
    assert compile_ is not None
    assert (compile_.init, compile_.terminated_reason, compile_.exit_code) == (True, "OOMKilled", 137)
    upload = pod.container("upload")
    assert upload is not None
    assert (upload.exit_code, upload.waiting_reason) == (None, "PodInitializing")


def test_missing_secret(captured: Read) -> None:
    seen = parse_job(captured("job-secretless"), pods=captured("pods-secretless"))
    assert seen.state == "active"
    upload = seen.pods[0].container("upload")
    assert upload is not None
    assert upload.waiting_reason == "CreateContainerConfigError"
    assert upload.waiting_message == 'secret "none" not found'


def test_unschedulable_pod(captured: Read) -> None:
    (pod,) = parse_job(captured("job-unschedulable"), pods=captured("pods-unschedulable")).pods
    assert (pod.phase, pod.scheduled, pod.unscheduled_reason) == ("Pending", False, "Unschedulable")
    assert "Insufficient example.com/none" in pod.unscheduled_message


def test_a_pod_that_is_being_deleted_on_its_node(captured: Read) -> None:
    (pod,) = captured("pods-deadline")
    there = parse_pod(pod)
    assert (there.deleting, there.ends_by, there.node != "", there.owned) == (False, None, True, True)
    leaving = copy.deepcopy(pod)
    leaving["metadata"] |= {"deletionTimestamp": "2026-01-01T12:00:30Z", "ownerReferences": []}
    seen = parse_pod(leaving)
    assert (seen.deleting, seen.ends_by) == (True, datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC))
    assert not seen.owned


def test_evicted_pod(captured: Read) -> None:
    pod = parse_pod(captured("pod-evicted"))
    assert pod.disrupted
    assert pod.deleting
    assert pod.scheduled
    assert pod.unscheduled_reason == ""


def test_restarted_container_shows_its_last_end(captured: Read) -> None:
    manifest = copy.deepcopy(captured("pods-server")[0])
    container = manifest["status"]["containerStatuses"][0]
    container |= {
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
        "lastState": {
            "terminated": {
                "exitCode": 1,
                "reason": "Error",
                "message": "failed to load",
                "finishedAt": "2026-11-21T00:41:00Z",
            }
        },
    }
    seen = parse_pod(manifest).containers[0]
    assert (seen.waiting_reason, seen.restarts, seen.exit_code) == ("CrashLoopBackOff", 3, 1)
    assert seen.termination_message == "failed to load"
    assert seen.finished_at == datetime(2026, 11, 21, 0, 41, tzinfo=UTC)


def test_pod_without_status_yet() -> None:
    pod = parse_pod({"metadata": {"name": "p", "uid": "u"}})
    assert (pod.phase, pod.scheduled, pod.ready, pod.containers) == ("Pending", False, False, ())


def test_deployment_with_its_pods(captured: Read) -> None:
    manifest = captured("deployment")
    strangers = captured("pods-succeeded")
    seen = parse_deployment(manifest, pods=pods_of_deployment(manifest, strangers + captured("pods-server")))
    assert (seen.replicas, seen.ready_replicas, seen.updated_replicas) == (1, 1, 1)
    assert seen.observed
    assert [pod.ready for pod in seen.pods] == [True]
    assert seen.manifest["spec"]["template"]["spec"]["containers"][0]["name"] == "tritonserver"


def test_servers_without_a_deployment(captured: Read) -> None:
    manifest, pods = captured("deployment"), list(captured("pods-server"))
    assert pods_of_none([manifest], pods) == []
    assert pods_of_none([], pods) == pods


def test_deployment_not_observed_yet(captured: Read) -> None:
    manifest = copy.deepcopy(captured("deployment"))
    manifest["metadata"]["generation"] += 1
    assert not parse_deployment(manifest, pods=()).observed
    del manifest["status"]
    seen = parse_deployment(manifest, pods=())
    assert (seen.observed, seen.ready_replicas) == (False, 0)


def test_ready_endpoint(captured: Read) -> None:
    slices = captured("slices")
    assert has_ready_endpoint(slices, service="demo")
    assert not has_ready_endpoint(slices, service="demo-abc"), "another Service of the same ensemble"
    unready = copy.deepcopy(slices)
    for endpoint in unready[0]["endpoints"]:
        endpoint["conditions"]["ready"] = False
    assert not has_ready_endpoint(unready, service="demo")
    del unready[0]["endpoints"]
    assert not has_ready_endpoint(unready, service="demo")


def test_object_and_owner(captured: Read) -> None:
    seen = parse_object(captured("slices")[0])
    assert seen.labels["kubernetes.io/service-name"] == "demo"
    assert len(seen.owners) == 1
    assert not seen.deleting


def test_rollout_of_an_unknown_shape_is_left_out() -> None:
    manifest = {
        "metadata": {
            "name": "r",
            "namespace": "n",
            "uid": "u",
            "creationTimestamp": "2026-11-21T00:41:00Z",
        },
        "revision": 1,
        "data": {"renderer": 99, "future": True},
    }
    assert parse_rollout(manifest) is None
