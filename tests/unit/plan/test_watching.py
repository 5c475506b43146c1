"""A rollout that fails soon after its promotion: the Service goes back by itself, once, and says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ensemble_operator.plan.actions import Annotate
from ensemble_operator.plan.observation import ContainerSeen, PodSeen
from ensemble_operator.plan.planner import plan
from ensembles_api.contract import Result
from ensembles_api.reasons import Reason
from tests.unit.plan.test_strategies import ROLLING, Fleet
from tests.unit.plan.world import CONFIG, REVISION, SPEC, Story, condition, created, fault, of_type, published

OTHER = "4" * 64
TWO = SPEC["models"][:2]
WATCHED: dict[str, Any] = {"retainSeconds": 0, "watchSeconds": 60}
CRASHED = ContainerSeen(
    name="tritonserver", waiting_reason="CrashLoopBackOff", exit_code=139, restarts=2,
    terminated_reason="Error", termination_message="Segmentation fault",
)  # fmt: skip
UNREADY = ContainerSeen(name="tritonserver", running=True)


def promoted(story: Story, revision: str) -> None:
    """Until the rollout of the present spec serves, and not one pass more than that takes."""
    story.step()
    story.end("assemble", result=published(revision))
    story.step()
    story.step()
    story.servers_ready()
    story.end("verify")
    while served(story) != revision:
        story.step()


def second(**rollout: Any) -> Story:
    """The second revision has just been promoted."""
    story = Story()
    story.change(rollout={**WATCHED, **rollout})
    promoted(story, REVISION)
    for _ in range(3):
        story.step(30)
    story.change(rollout={**WATCHED, **rollout}, models=TWO)
    promoted(story, OTHER)
    story.step()
    return story


def served(story: Story) -> str | None:
    assert story.last.status is not None
    return story.last.status.get("revision")


def servers(story: Story, server: ContainerSeen, *, since: float = 0, **pod: Any) -> None:
    """The pods of the rollout that serves are seen so, not ready for `since` seconds."""
    now = story.seen.now
    seen = PodSeen(
        name="pod-1", uid="1", labels={}, phase="Running", created=now - timedelta(minutes=5),
        not_ready_since=now - timedelta(seconds=since), containers=(server,),
    )  # fmt: skip
    seen = replace(seen, **pod)
    active = story.active
    story.seen = replace(
        story.seen,
        endpoints_ready=False,
        deployments=tuple(
            replace(d, pods=(seen,), ready_replicas=0) if d.labels["ensembles.dev/rollout"] == active else d
            for d in story.seen.deployments
        ),
    )


def went_back(story: Story) -> bool:
    for _ in range(8):
        story.step()
    return served(story) == REVISION


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


def test_going_back_only_moves_the_service() -> None:
    story = second()
    servers(story, CRASHED)
    for _ in range(8):
        story.step()
        assert created(story.last, "Job") == created(story.last, "Deployment") == []
    assert story.last.status is not None
    new, old = story.last.status["history"]
    assert (new["outcome"], old["outcome"]) == ("Failed", "Promoted")
    assert new["message"].startswith("revision 444444444444 failed")
    assert sorted(d.replicas for d in story.seen.deployments) == [0, 1], "the failed servers end"


def test_it_is_not_tried_again_until_asked() -> None:
    story = second()
    servers(story, CRASHED)
    assert went_back(story)
    for _ in range(10):
        story.step(600)
        story.cluster_moves(OTHER)
        assert served(story) == REVISION
    assert story.last.actions == ()
    story.seen = replace(story.seen, annotations={"ensembles.dev/requestedAt": "now"})
    promoted(story, OTHER)


def both_fail() -> Story:
    """The second revision fails after its promotion, the first one on the way back to it."""
    story = second()
    servers(story, CRASHED)
    ended = replace(CRASHED, exit_code=1)
    pod = PodSeen(name="old", uid="old", labels={}, phase="Running", containers=(ended,))
    story.seen = replace(
        story.seen,
        deployments=tuple(
            d if d.labels["ensembles.dev/rollout"] == story.active
            else replace(d, pods=(pod,), ready_replicas=0)
            for d in story.seen.deployments
        ),
    )  # fmt: skip
    for _ in range(5):
        story.step()
    return story


def test_where_the_former_servers_fail_too_the_failed_ones_are_never_called_ready() -> None:
    story = both_fail()
    for _ in range(5):
        story.servers_ready(story.active)
        story.step(600)
        assert (served(story), story.reason) == (OTHER, "FailedAfterPromotion")
    assert story.last.status is not None
    assert [record["outcome"] for record in story.last.status["history"]] == ["Failed", "Failed"]
    stalled, available = condition(story.last, "Stalled"), condition(story.last, "Available")
    assert stalled is not None
    assert available is not None
    assert "it serves on, as the former one failed, too: tritonserver in pod old" in stalled["message"]
    assert available["status"] == "True"
    assert story.last.actions == ()


def test_where_both_failed_it_counts_again_when_asked_for() -> None:
    story = both_fail()
    story.seen = replace(story.seen, annotations={"ensembles.dev/requestedAt": "now"})
    story.step()
    story.end("assemble", result=published(OTHER))
    story.servers_ready(story.active)
    for _ in range(3):
        story.step()
    assert (served(story), story.reason) == (OTHER, "Ready")


def test_a_request_from_before_the_failure_does_not_try_it_again() -> None:
    story = second()
    story.seen = replace(story.seen, annotations={"ensembles.dev/requestedAt": "before"})
    story.step()
    story.end("assemble", result=published(OTHER))
    story.step()
    servers(story, CRASHED)
    assert went_back(story)
    for _ in range(5):
        story.step(2)
        story.cluster_moves(OTHER)
    assert (served(story), story.reason) == (REVISION, "FailedAfterPromotion")
    story.seen = replace(story.seen, annotations={"ensembles.dev/requestedAt": "after"})
    promoted(story, OTHER)


def test_another_spec_is_rolled_out_as_always() -> None:
    story = second()
    servers(story, CRASHED)
    assert went_back(story)
    story.change(rollout=WATCHED, models=TWO[:1])
    promoted(story, "5" * 64)
    story.step(5)
    assert story.reason == "Ready"


def test_a_spec_that_changes_while_it_goes_back_comes_after() -> None:
    story = second()
    servers(story, CRASHED)
    story.step()
    story.change(rollout=WATCHED, models=TWO[:1])
    assert went_back(story)
    story.end("assemble", result=published("5" * 64))
    for _ in range(12):
        story.step()
        story.cluster_moves("5" * 64)
    assert (served(story), story.reason) == ("5" * 64, "Ready")


def test_a_rollout_under_way_is_put_off_where_what_serves_fails() -> None:
    story = second()
    story.change(rollout=WATCHED, models=TWO[:1])
    story.step()
    story.end("assemble", result=published("5" * 64))
    story.step()
    story.step()
    servers(story, CRASHED)
    assert went_back(story)
    for _ in range(12):
        story.step()
        story.cluster_moves("5" * 64)
    assert (served(story), story.reason) == ("5" * 64, "Ready")


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


def test_what_served_before_is_not_watched_when_it_serves_again() -> None:
    story = second()
    servers(story, CRASHED)
    assert went_back(story)
    servers(story, CRASHED)
    for _ in range(4):
        story.step()
    assert served(story) == REVISION
    assert story.last.status is not None
    assert [record["outcome"] for record in story.last.status["history"]] == ["Failed", "Promoted"]


def test_the_former_servers_stay_as_long_as_is_watched() -> None:
    story = second()
    story.step(70)
    assert len(story.seen.deployments) == 2
    story.step(10)
    story.step()
    assert len(story.seen.deployments) == 1


@pytest.mark.parametrize("kill", range(1, 4))
def test_killed_during_the_switch_back_it_is_noted_later(kill: int) -> None:
    story = second()
    servers(story, CRASHED)
    while served(story) == OTHER:
        story.step(killed_after=kill)
        story.step(0, killed_after=0)
        story.last = plan(story.seen, CONFIG)
    for _ in range(3):
        story.step()
    assert story.last.status is not None
    assert [record["outcome"] for record in story.last.status["history"]] == ["Failed", "Promoted"]


@pytest.mark.parametrize("kill", range(4))
def test_killed_between_any_two_writes_it_goes_back_all_the_same(kill: int) -> None:
    story = second()
    servers(story, CRASHED)
    for turn in range(24):
        story.step(1, killed_after=kill if turn % 2 else None)
    for _ in range(3):
        story.step()
    assert served(story) == REVISION
    assert story.reason == "FailedAfterPromotion"
    assert story.last.actions == ()
    assert story.last.status is not None
    assert [record["outcome"] for record in story.last.status["history"]] == ["Failed", "Promoted"]


def test_the_service_is_deleted_while_it_goes_back() -> None:
    story = second()
    servers(story, CRASHED)
    story.step()
    story.seen = replace(story.seen, services=tuple(s for s in story.seen.services if s.name != "net"))
    assert went_back(story)
    story.seen = replace(story.seen, services=tuple(s for s in story.seen.services if s.name != "net"))
    story.step()
    assert served(story) == REVISION


def test_a_recovery_after_the_mark_changes_nothing() -> None:
    story = second()
    servers(story, CRASHED)
    story.step()
    story.servers_ready()
    assert went_back(story)


def test_a_pin_on_what_failed_says_so() -> None:
    story = second()
    servers(story, CRASHED)
    story.step()
    story.change(models=TWO, rollout={**WATCHED, "pinRevision": OTHER})
    assert went_back(story)
    assert story.reason == "FailedAfterPromotion"


def test_a_canary_goes_back_without_steps() -> None:
    canary = {"strategy": "Canary", "canary": {"steps": [{"weight": 50, "pauseSeconds": 600}]}}
    story = second()
    servers(story, CRASHED)
    story.change(models=TWO, rollout={**WATCHED, **canary})
    assert went_back(story)


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


def test_where_the_next_rollout_is_asked_already_it_goes_on() -> None:
    story, third = Fleet(), "5" * 64
    story.begin(3, {**ROLLING, "watchSeconds": 600})
    story.step(700)
    story.want()
    story.play(OTHER, 40)
    second = story.active
    story.want(SPEC["models"][:1])
    while len([d for d in story.seen.deployments if d.ready_replicas]) < 2 or story.reason != "Stepping":
        story.play(third, 1)
    for _ in range(40):
        if story.active == second:
            servers(story, CRASHED)
        story.step(2)
        assert len(story.reached()) >= 1
        story.servers_ready(newest(story))
    assert (served(story), story.reason) == (third, "Ready")


def newest(story: Story) -> str:
    return max(story.seen.rollouts, key=lambda rollout: rollout.number).name.rpartition("-")[2]
