"""What counts against a rollout soon after its promotion, what does not, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ensemble_operator.plan.actions import Annotate
from ensemble_operator.plan.observation import ContainerSeen, PodSeen
from ensembles_api.contract import Result
from ensembles_api.reasons import Reason
from tests.unit.plan.story import Story
from tests.unit.plan.watched import (
    CRASHED,
    OTHER,
    UNREADY,
    WATCHED,
    promoted,
    second,
    served,
    servers,
    went_back,
)
from tests.unit.plan.world import REVISION, condition, created, fault, of_type


def test_servers_that_crash_again_and_again() -> None:
    story = second()
    servers(story, CRASHED)
    story.step()
    (mark,) = of_type(story.last, Annotate)
    assert mark.annotations["ensembles.dev/outcome"] == "Failed"
    assert story.reason == "FailedAfterPromotion"
    assert went_back(story)
    story.seen = replace(story.seen, endpoints_ready=True)
    story.step()
    stalled, available = condition(story.last, "Stalled"), condition(story.last, "Available")
    assert stalled is not None
    assert available is not None
    assert (stalled["reason"], available["status"]) == ("FailedAfterPromotion", "True")
    assert stalled["message"] == (
        "revision 444444444444 failed 2 s after its promotion: "
        "tritonserver in pod pod-1 ended with exit code 139: Segmentation fault; correct the spec, or "
        "annotate ensembles.dev/requestedAt to try the same again; revision 333333333333 serves again"
    )


@pytest.mark.parametrize(("since", "back"), [(4, False), (5, True)])
def test_no_server_is_ready(*, since: float, back: bool) -> None:
    story = second()
    story.step(10)
    servers(story, UNREADY, since=since - 1)
    story.step()
    assert (story.reason == "FailedAfterPromotion") == back
    if not back:
        assert story.last.wake is not None
        assert story.last.wake <= story.seen.now + timedelta(seconds=1)


@pytest.mark.parametrize(("since", "back"), [(14, False), (15, True)])
def test_one_server_of_two_is_not_ready(*, since: float, back: bool) -> None:
    story = second()
    story.step(20)
    servers(story, UNREADY, since=since - 1)
    good = PodSeen(name="pod-2", uid="2", labels={}, phase="Running", ready=True)
    story.seen = replace(
        story.seen,
        deployments=tuple(replace(d, pods=(*d.pods, good)) if d.pods else d for d in story.seen.deployments),
    )
    story.step()
    assert (story.reason == "FailedAfterPromotion") == back


SERVES = ContainerSeen(name="tritonserver", running=True, ready=True)
PROXY = ContainerSeen(name="http", exit_code=1, restarts=2, termination_message="no haproxy here")


@pytest.mark.parametrize(
    ("proxy", "since", "told"),
    [
        (PROXY, 0, "ended with exit code 1: no haproxy here"),
        (ContainerSeen(name="http", running=True), 15, "has not been ready since"),
    ],
)
def test_a_proxy_without_which_no_client_is_answered(proxy: ContainerSeen, since: float, told: str) -> None:
    story = second()
    story.step(20)
    servers(story, SERVES, since=since - 1 if since else 0, containers=(SERVES, proxy))
    story.step()
    stalled = condition(story.last, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "FailedAfterPromotion"
    assert told in stalled["message"]


@pytest.mark.parametrize(
    ("server", "pod"),
    [
        (UNREADY, {"deleting": True}),
        (UNREADY, {"disrupted": True}),
        (UNREADY, {"phase": "Failed", "reason": "Evicted"}),
        (replace(UNREADY, ready=True), {}),  # the node is lost: only the API server calls the pod unready
        (replace(UNREADY, exit_code=255, terminated_reason="Unknown", restarts=1), {}),  # the node restarted
        (ContainerSeen(name="tritonserver", waiting_reason="PodInitializing"), {}),  # storage is away
        (UNREADY, {"created": "later"}),
    ],
)  # fmt: skip
def test_what_the_world_does_is_not_held_against_a_rollout(
    server: ContainerSeen, pod: dict[str, Any]
) -> None:
    story = second()
    if "created" in pod:
        pod = {"created": story.seen.now}
    story.step(30)
    servers(story, server, since=20, **pod)
    for _ in range(5):
        story.step(5)
    assert story.reason != "FailedAfterPromotion"
    assert served(story) == OTHER


@pytest.mark.parametrize("rollout", [{"watchSeconds": 0}, {"watchSeconds": 20}])
def test_after_the_watch_servers_are_healed_by_kubernetes_alone(rollout: dict[str, Any]) -> None:
    story = second(retainSeconds=600, **rollout)
    story.step(60)
    servers(story, CRASHED)
    story.step()
    assert story.reason == "LoadFailed"
    assert served(story) == OTHER


def test_the_first_rollout_has_nothing_to_go_back_to() -> None:
    story = Story()
    story.change(rollout=WATCHED)
    promoted(story, REVISION)
    story.step()
    servers(story, CRASHED)
    story.step()
    assert story.reason == "LoadFailed"
    assert served(story) == REVISION


def test_the_former_servers_stay_as_long_as_is_watched() -> None:
    story = second()
    story.step(70)
    assert len(story.seen.deployments) == 2
    story.step(10)
    story.step()
    assert len(story.seen.deployments) == 1


def measured(**analysis: Any) -> Story:
    story = second(analysis=analysis)
    (job,) = story.jobs("analyse")
    arguments = created_arguments(story)
    assert {"--new", "--old"} <= set(arguments)
    assert job.annotations["ensembles.dev/step"] == "w"
    return story


def created_arguments(story: Story) -> list[str]:
    found: list[str] = []
    for manifest in created(story.last, "Job"):
        found += manifest["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


def test_more_failed_requests_than_allowed() -> None:
    story = measured(maxErrorPercent=5)
    story.step(50)
    worse = fault(Reason.ANALYSIS_FAILED, "12.0 points more fail", "spec.rollout.analysis.maxErrorPercent")
    story.end("analyse", "failed", result=worse)
    assert went_back(story)
    assert story.reason == "FailedAfterPromotion"
    stalled = condition(story.last, "Stalled")
    assert stalled is not None
    assert "spec.rollout.analysis.maxErrorPercent: 12.0 points more fail" in stalled["message"]


@pytest.mark.parametrize("end", ["passed", "too few", "lost"])
def test_a_measurement_that_finds_nothing_ends_with_the_watch(end: str) -> None:
    story = measured()
    story.step(66)
    reason = Reason.ANALYSIS_INCONCLUSIVE if end == "too few" else Reason.JOB_FAILED
    if end == "passed":
        story.end("analyse", result=Result())
    else:
        story.end("analyse", "failed", result=fault(reason, "no figures", ""))
    for _ in range(6):
        story.step(20)
        assert created(story.last, "Job") == []
    story.step(20)
    assert (served(story), story.reason) == (OTHER, "Ready")
    assert len(story.seen.deployments) == 1
