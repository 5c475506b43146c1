"""The operator is killed between any two writes, any number of times: it ends where it would have ended."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensembles_api.contract import NextBuild, Result
from tests.unit.plan.fleet import CANARY, Fleet
from tests.unit.plan.story import Story
from tests.unit.plan.world import KEY, LOCK, REVISION, SPEC, missing_dali

OTHER = "4" * 64
QUICK = {"retainSeconds": 0}
QUIET_STEPS = 5
TO_PROVE = NextBuild(kind="dali", key=KEY, model="preprocess", proof="5" * 64, gpu=True)


class Proven(Story):
    """What the first round builds is proven in a second, by another Job of the same key."""

    def cluster_moves(self, revision: str) -> None:
        for job in self.jobs("assemble"):
            if job.state == "active" and job.annotations["ensembles.dev/round"] == "2":
                self.end("assemble", result=Result(lock=LOCK, next=(TO_PROVE,)))
        super().cluster_moves(revision)


def _end_state(story: Story) -> dict[str, Any]:
    seen = story.seen
    return {
        "reason": story.reason,
        "revision": story.last.status and story.last.status["revision"],
        "deployments": {d.name for d in seen.deployments},
        "services": {s.name for s in seen.services},
        "selector": story.selector,
        "verified": {r.data.revision: "ensembles.dev/verification" in r.annotations for r in seen.rollouts},
        "outcomes": {r.data.revision: r.annotations.get("ensembles.dev/outcome") for r in seen.rollouts},
        "actions": story.last.actions,
    }


def _settle(story: Story, revision: str) -> None:
    """Until nothing has been done for a while, and long after that."""
    quiet = 0
    for _ in range(25):
        story.step(2)
        story.cluster_moves(revision)
        quiet = 0 if story.last.actions else quiet + 1
        if quiet == QUIET_STEPS:
            break
    story.step(300)
    story.step(300)


@cache
def _calm() -> dict[str, Any]:
    story = Story()
    story.change(rollout=QUICK)
    _settle(story, REVISION)
    story.change(rollout=QUICK, models=SPEC["models"][:2])
    _settle(story, OTHER)
    return _end_state(story)


@pytest.mark.parametrize("world", [Story, Proven])
@settings(max_examples=30, deadline=None)
@given(kills=st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=20, max_size=30))
def test_killed_anywhere_it_ends_in_the_same_state(world: type[Story], kills: list[int | None]) -> None:
    story = world()
    story.change(rollout=QUICK)
    for kill in kills[:10]:
        story.step(2, killed_after=kill)
        story.cluster_moves(REVISION)
    _settle(story, REVISION)
    story.change(rollout=QUICK, models=SPEC["models"][:2])
    for kill in kills[10:]:
        story.step(2, killed_after=kill)
        story.cluster_moves(OTHER)
    _settle(story, OTHER)
    assert _end_state(story) == _calm()


@settings(max_examples=30, deadline=None)
@given(turns=st.lists(st.sampled_from(["first", "second", "step", "steps"]), max_size=25))
def test_however_often_the_spec_changes_the_last_one_serves_and_nothing_is_orphaned(turns: list[str]) -> None:
    story = Story()
    revision = REVISION
    story.change(rollout=QUICK)
    for turn in [*turns, "second"]:
        if turn == "first":
            revision = REVISION
            story.change(rollout=QUICK)
        elif turn == "second":
            revision = OTHER
            story.change(rollout=QUICK, models=SPEC["models"][:2])
        else:
            for _ in range(1 if turn == "step" else 6):
                story.step(2)
                story.cluster_moves(revision)
    _settle(story, OTHER)
    state = _end_state(story)
    assert state["reason"] == "Ready"
    assert state["revision"] == OTHER
    assert len(state["deployments"]) == 1
    assert state["actions"] == ()


@pytest.mark.parametrize("kill", range(5))
def test_something_serves_at_every_moment_of_a_switch(kill: int) -> None:
    """The Service always selects a rollout whose servers are there and ready."""
    story = Story()
    story.change(rollout=QUICK)
    _settle(story, REVISION)
    story.change(rollout=QUICK, models=SPEC["models"][:2])
    for turn in range(40):
        story.step(1, killed_after=kill if turn % 3 else None)
        story.cluster_moves(OTHER)
        selected = story.selector.get("ensembles.dev/rollout")
        servers = [
            d
            for d in story.seen.deployments
            if selected in {None, d.labels["ensembles.dev/rollout"]} and d.ready_replicas
        ]
        assert servers


@settings(max_examples=15, deadline=None)
@given(turns=st.lists(st.sampled_from(["first", "second", "pin", "unpin", "steps", 0, 1, 2]), max_size=20))
def test_pins_and_changes_in_any_order_and_killed_at_will_end_at_the_pin(turns: list[str | int]) -> None:
    story = Story()
    spec: dict[str, Any] = {"rollout": QUICK}
    story.change(**spec)
    _settle(story, REVISION)
    revision = REVISION
    for turn in [*turns, "pin"]:
        if turn in {"first", "second"}:
            revision = REVISION if turn == "first" else OTHER
            spec = {**spec, "models": SPEC["models"] if turn == "first" else SPEC["models"][:2]}
        elif turn in {"pin", "unpin"}:
            spec = {**spec, "rollout": QUICK | ({"pinRevision": REVISION} if turn == "pin" else {})}
        if isinstance(turn, str) and turn != "steps":
            story.change(**spec)
        for _ in range(4):
            story.step(2, killed_after=turn if isinstance(turn, int) else None)
            story.cluster_moves(revision)
    _settle(story, REVISION)
    state = _end_state(story)
    assert (state["reason"], state["revision"], state["actions"]) == ("Ready", REVISION, ())
    assert len(state["deployments"]) == 1


STEPS = [{"weight": 25, "pauseSeconds": 10}, {"weight": 50, "pauseSeconds": 10}]


@settings(max_examples=20, deadline=None)
@given(
    kills=st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=10, max_size=40), at=st.integers(0, 39)
)
def test_killed_anywhere_while_the_steps_of_a_canary_are_taken_away(kills: list[int | None], at: int) -> None:
    story = Fleet()
    story.begin(4, {**CANARY, "canary": {"steps": STEPS}})
    story.want()
    for turn, kill in enumerate(kills):
        if turn == at:
            story.want(canary={"steps": STEPS[:1]})
        story.step(2, killed_after=kill)
        assert len(story.reached()) >= 4
        assert {story.of(pod.labels) for pod in story.reached()} <= story.proven
        story.cluster_moves(OTHER)
    story.want(canary={"steps": STEPS[:1]})
    story.play(OTHER, 60)
    assert (story.reason, story.numbers()) == ("Ready", (0, 4))
    assert {r.annotations.get("ensembles.dev/steps", "") for r in story.seen.rollouts} == {""}


@settings(max_examples=20, deadline=None)
@given(kills=st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=5, max_size=30))
def test_killed_anywhere_while_a_share_is_taken_back_for_a_spec_that_is_built(
    kills: list[int | None],
) -> None:
    story = Fleet()
    story.to_first_step(4, {**CANARY, "canary": {"steps": STEPS}})
    story.want(SPEC["models"][:1])
    story.step(2)
    story.end("assemble", result=missing_dali())
    for kill in [*kills, *[None] * 20]:
        story.step(2, killed_after=kill)
        assert len(story.reached()) >= 4
        assert {story.of(pod.labels) for pod in story.reached()} <= story.proven
        story.servers_ready()
    assert (story.reason, story.numbers()) == ("Building", (4, 0))
    assert story.last.actions == ()
