"""States that last or come at a bad moment: the planner neither spins, nor gives up, nor ends what serves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ensemble_operator.plan.actions import Apply
from ensemble_operator.plan.observation import ContainerSeen, PodSeen
from ensemble_operator.plan.planner import plan
from ensembles_api.contract import NextBuild, Result
from ensembles_api.names import FINALIZER
from ensembles_api.reasons import Reason
from tests.unit.plan.story import Story
from tests.unit.plan.world import (
    CONFIG,
    LOCK,
    UID,
    condition,
    created,
    deleted,
    fault,
    missing_dali,
    out_of_memory,
    published,
)

PIPES: list[dict[str, Any]] = [
    {"name": "p", "dali": {"source": {"configMap": {"name": "pipes", "key": "pipe.py"}}}}
]


def test_a_trouble_older_than_its_grace_time_does_not_call_for_pass_after_pass() -> None:
    story = Story(config_maps={"pipes": None})
    story.change(models=PIPES)
    for _ in range(4):
        story.step(70)
        assert story.last.wake is not None
        assert story.last.wake > story.seen.now
    assert condition(story.last, "Stalled") is not None


def test_a_suspended_retry_that_is_due_calls_for_no_pass() -> None:
    story = Story()
    story.step()
    story.end("assemble", "failed", result=fault(Reason.JOB_FAILED))
    story.step()
    story.change(suspend=True)
    story.step(100)
    assert story.last.wake is None


def test_a_service_that_lost_its_owner_ends_no_servers() -> None:
    story = Story()
    story.until_ready()
    story.seen = replace(story.seen, services=tuple(
        replace(s, owners=()) if s.name == "net" else s for s in story.seen.services
    ))  # fmt: skip
    story.step()
    assert deleted(story.last) == set()
    assert condition(story.last, "Stalled")["reason"] == "ObjectNotOwned"  # type: ignore[index]


def test_revisions_are_pruned_when_config_maps_and_release_went_with_the_resource() -> None:
    story = Story(config_maps={"pipes": {"pipe.py": "d" * 64}})
    story.change(deletionPolicy="Delete", models=PIPES)
    story.until_ready()
    story.change(deletionPolicy="Delete", models=PIPES, runtime={"release": "gone"})
    story.seen = replace(story.seen, deleting_since=story.seen.now, config_maps={"pipes": None})
    story.step()
    story.step()
    assert [m["metadata"]["labels"]["ensembles.dev/role"] for m in created(story.last, "Job")] == ["prune"]
    assert story.seen.finalizers


def test_what_pruned_a_deleted_resource_is_no_proof_for_its_successor() -> None:
    def deleting(**seen: Any) -> Story:
        story = Story(**seen)
        story.change(deletionPolicy="Delete")
        story.seen = replace(story.seen, deleting_since=story.seen.now, finalizers=(FINALIZER,))
        story.step()
        return story

    former = deleting(uid="former")
    former.end("prune", result=Result())
    story = deleting(jobs=tuple(former.jobs("prune")))
    assert len(created(story.last, "Job")) == 1
    assert story.seen.finalizers


def test_the_request_names_the_resource_that_may_prune_its_revisions() -> None:
    story = Story()
    story.step()
    assert f'"uid":"{UID}"' in created(story.last, "ConfigMap")[0]["data"]["request.json"]


def test_a_request_deleted_by_hand_is_put_back_for_the_next_round() -> None:
    story = Story()
    story.step()
    request = created(story.last, "ConfigMap")
    story.end("assemble", result=missing_dali())
    story.seen = replace(story.seen, requests=())
    story.step()
    assert created(story.last, "ConfigMap") == request
    story.step()
    assert created(story.last, "ConfigMap") == []


def test_a_build_that_ended_well_is_not_repeated_because_its_node_is_gone() -> None:
    story = Story()
    story.until_building()
    story.end("build", result=Result())
    story.set_job(story.jobs("build")[0], pods=())
    story.step()
    roles = [m["metadata"]["labels"]["ensembles.dev/role"] for m in created(story.last, "Job")]
    assert roles == ["assemble"]


def test_an_assembler_that_ended_well_without_its_pod_is_asked_again() -> None:
    story = Story()
    story.step()
    story.end("assemble", result=published())
    story.set_job(story.jobs("assemble")[0], pods=())
    story.step()
    assert story.reason == "PodLost"


def test_warnings_are_as_long_and_as_many_as_the_status_takes() -> None:
    story = Story()
    story.assemble(Result(lock="1" * 64, warnings=("w" * 1500,), next=missing_dali().next))
    assert story.last.status is not None
    assert story.last.status["warnings"] == ["w" * 1024]


def test_pods_that_cannot_be_made_yet_do_not_fail_the_rollout() -> None:
    story = Story()
    story.until_published()
    story.step()
    serving = story.seen.deployments[0]
    waiting = ContainerSeen(
        name="tritonserver", waiting_reason="CreateContainerError", waiting_message="deadline exceeded"
    )
    pod = PodSeen(name="p", uid="p", labels=serving.labels, phase="Pending", containers=(waiting,))
    story.seen = replace(story.seen, deployments=(replace(serving, pods=(pod,)),))
    story.step()
    assert condition(story.last, "Stalled")["reason"] == "InvalidPodSettings"  # type: ignore[index]
    story.seen = replace(story.seen, deployments=(serving,))
    story.verify_and_promote()
    assert story.reason == "Ready"


def test_raising_the_limit_that_the_message_names_tries_again() -> None:
    story = Story()
    story.until_building()
    for _ in (1, 2):
        story.end("build", "failed", pod=out_of_memory("compile"))
        story.step()
    assert condition(story.last, "Stalled") is not None
    story.change(build={"resources": {"limits": {"memory": "8Gi"}}})
    story.step()
    story.end("build", result=Result())
    story.assemble(published())
    assert story.reason == "RollingOut"


def test_a_compiler_killed_for_memory_without_its_pod_failing_is_seen() -> None:
    story = Story()
    story.until_building()
    for attempt in ("1", "2"):
        (job,) = [j for j in story.jobs("build") if j.annotations["ensembles.dev/attempt"] == attempt]
        killed = ContainerSeen(name="export", init=True, exit_code=0, terminated_reason="OOMKilled")
        pod = PodSeen(name="p", uid="p", labels={}, phase="Pending", containers=(killed,))
        story.set_job(job, pods=(pod,))
        story.step()
        assert story.reason == "OutOfMemory"
    assert condition(story.last, "Stalled") is not None


def test_a_container_that_the_user_sets_no_memory_for_is_not_the_users_fault() -> None:
    story = Story()
    story.step()
    for _ in (1, 2, 3):
        story.end("assemble", "failed", pod=out_of_memory("assemble"))
        story.step(100)
        assert story.reason == "JobFailed"
        assert "spec.build" not in condition(story.last, "Reconciling")["message"]  # type: ignore[index]


def test_a_build_that_waits_takes_up_changed_settings_once() -> None:
    story = Story()
    story.until_building()
    job = story.jobs("build")[0]
    waiting = PodSeen(
        name="p",
        uid="p",
        labels=job.labels,
        phase="Pending",
        scheduled=False,
        unscheduled_reason="Unschedulable",
        unscheduled_message="0/1 nodes are available: node selector",
    )
    story.set_job(job, pods=(waiting,))
    story.step()
    assert len(story.jobs("build")) == 1
    story.change(build={"nodeSelector": {"disk": "fast"}})
    for _ in range(4):
        story.step()
    assert [j.annotations["ensembles.dev/attempt"] for j in story.jobs("build")] == ["2"]


def test_builds_that_wait_for_a_node_hold_up_no_other() -> None:
    def order(number: int) -> NextBuild:
        return NextBuild(kind="dali", key=str(number) * 64, model="preprocess")

    story = Story()
    story.step()
    many = Result(lock=LOCK, next=tuple(order(number) for number in range(CONFIG.parallel_builds + 1)))
    story.end("assemble", result=many)
    story.step()
    story.step()
    assert len(story.jobs("build")) == CONFIG.parallel_builds
    no_node = PodSeen(
        name="p", uid="p", labels={}, phase="Pending", scheduled=False, unscheduled_reason="Unschedulable"
    )
    story.set_job(story.jobs("build")[0], pods=(no_node,))
    story.step()
    assert len(story.jobs("build")) == CONFIG.parallel_builds + 1


def test_builds_that_are_tried_again_wait_for_room_as_well() -> None:
    orders = tuple(
        NextBuild(kind="dali", key=str(number) * 64, model="preprocess")
        for number in range(1, CONFIG.parallel_builds + 2)
    )
    story = Story()
    story.step()
    story.end("assemble", result=Result(lock=LOCK, next=orders))
    story.step()
    lost, *others = story.jobs("build")
    story.set_job(lost, state="failed", finished_at=story.seen.now)
    story.step()
    assert len(story.jobs("build")) == len(orders), "the last one has the room of the lost"

    story.step(60)
    assert created(story.last, "Job") == []
    assert story.last.wake is None or story.last.wake > story.seen.now, "it is not asked for again and again"
    story.set_job(others[0], state="succeeded", finished_at=story.seen.now)
    story.step()
    (again,) = created(story.last, "Job")
    assert again["metadata"]["annotations"]["ensembles.dev/attempt"] == "2"


def test_earlier_attempts_go_when_a_later_one_is_there() -> None:
    story = Story()
    story.step()
    more = missing_dali().model_copy(update={"more": 1})
    story.end("assemble", result=more)
    story.step()
    (job,) = story.jobs("build")
    killed = ContainerSeen(name="compile", init=True, exit_code=0, terminated_reason="OOMKilled")
    hung = PodSeen(name="p", uid="p", labels={}, phase="Pending", containers=(killed,))
    story.set_job(job, pods=(hung,))
    for _ in range(3):
        story.step()
    assert [j.annotations["ensembles.dev/attempt"] for j in story.jobs("build")] == ["2"]


def test_earlier_verifications_of_a_rollout_go() -> None:
    story = Story()
    story.until_published()
    story.step()
    for _ in range(3):
        story.end("verify", "failed", result=fault(Reason.JOB_FAILED))
        story.step(1)
        story.step(600)
        story.step()
    assert [j.annotations["ensembles.dev/attempt"] for j in story.jobs("verify")] == ["4"]


def test_a_deployment_that_only_bears_our_labels_is_left_alone() -> None:
    story = Story()
    story.until_ready()
    ours = story.seen.deployments[0]
    strange = replace(
        ours, name="theirs", uid="theirs", labels={**ours.labels, "ensembles.dev/rollout": "x"}, owners=()
    )
    story.seen = replace(story.seen, deployments=(ours, strange))
    story.step()
    assert story.last.actions == ()


def test_what_was_promoted_without_servers_is_verified_when_it_has_some() -> None:
    story = Story()
    story.change(serving={"replicas": 0})
    story.until_published()
    for _ in range(5):
        story.step(2)
    assert story.reason == "Ready"
    assert condition(story.last, "Verified")["status"] == "False"  # type: ignore[index]
    story.change(serving={"replicas": 1})
    for _ in range(3):
        story.step(2)
        story.servers_ready()
    assert story.reason == "Verifying"
    story.end("verify", result=Result())
    story.step(2)
    story.step(2)
    assert story.reason == "Ready"
    assert condition(story.last, "Verified")["status"] == "True"  # type: ignore[index]
    assert story.last.actions == ()


UPGRADED = CONFIG.model_copy(update={"tools_image": "localhost/tools:2"})


@pytest.mark.parametrize(("container", "init"), [("fetch", True), ("http", False)])
def test_a_new_operators_image_restarts_no_servers_until_the_old_one_cannot_be_pulled(
    container: str, *, init: bool
) -> None:
    story = Story()
    story.until_ready()
    assert not [a for a in plan(story.seen, UPGRADED).actions if isinstance(a, Apply)]
    serving = story.seen.deployments[0]
    waiting = ContainerSeen(name=container, init=init, waiting_reason="ImagePullBackOff")
    pod = PodSeen(name="p", uid="p", labels=serving.labels, phase="Pending", containers=(waiting,))
    story.seen = replace(story.seen, deployments=(replace(serving, pods=(pod,)),))
    (mended,) = [a.manifest for a in plan(story.seen, UPGRADED).actions if isinstance(a, Apply)]
    pod_spec = mended["spec"]["template"]["spec"]
    assert pod_spec["initContainers"][0]["image"] == "localhost/tools:2"
    assert pod_spec["containers"][1]["image"] == "localhost/tools:2"
    story.seen = replace(story.seen, deployments=())
    (made,) = created(plan(story.seen, UPGRADED), "Deployment")
    assert made["spec"]["template"]["spec"]["initContainers"][0]["image"] == "localhost/tools:2"
