"""Back from a rollout that failed after its promotion: whatever happens meanwhile, once, and told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ensemble_operator.plan.observation import PodSeen
from ensemble_operator.plan.planner import plan
from tests.unit.plan.fleet import ROLLING, Fleet
from tests.unit.plan.story import Story
from tests.unit.plan.watched import CRASHED, OTHER, TWO, WATCHED, promoted, second, served, servers, went_back
from tests.unit.plan.world import CONFIG, REVISION, SPEC, condition, created, published


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
    story.assemble(published(OTHER))
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
    story.assemble(published("5" * 64))
    story.step()
    servers(story, CRASHED)
    assert went_back(story)
    for _ in range(12):
        story.step()
        story.cluster_moves("5" * 64)
    assert (served(story), story.reason) == ("5" * 64, "Ready")


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
