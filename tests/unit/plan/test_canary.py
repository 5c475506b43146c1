"""Canary by numbers of servers: steps, approvals, and steps that are edited meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ensembles_api.spec.rollout import CanaryStep
from tests.unit.plan.fleet import CANARY, OTHER, Fleet
from tests.unit.plan.world import REVISION, SPEC, condition


def test_a_canary_goes_step_by_step_and_waits_for_approval() -> None:
    story = Fleet()
    story.to_first_step(4, CANARY)
    story.play(OTHER, 5)
    assert story.numbers() == (4, 1)
    assert len(story.reached()) == 5
    progress = (story.last.status or {})["progress"]
    assert (progress["strategy"], progress["step"], progress["steps"], progress["weight"]) == (
        "Canary",
        1,
        2,
        25,
    )
    assert progress["since"]
    assert progress["servers"] == "1/1"
    story.play(OTHER, 25)
    assert story.numbers() == (4, 1)  # the minute is not over
    story.play(OTHER, 10)
    assert story.numbers() == (4, 4)
    story.play(OTHER, 1, seconds=3600)
    story.play(OTHER, 5)
    assert story.reason == "Stepping"
    assert "waits for approval" in (condition(story.last, "Reconciling") or {})["message"]
    assert story.active == story.old
    story.seen = replace(story.seen, annotations={"ensembles.dev/promote": f"{progress['rollout']}/2"})
    story.play(OTHER, 10)
    assert story.reason == "Ready"
    assert story.numbers() == (0, 4)
    assert "progress" not in (story.last.status or {})
    newest = max(story.seen.rollouts, key=lambda r: r.number)
    assert newest.annotations["ensembles.dev/step"] == ""


@pytest.mark.parametrize(
    ("approval", "numbers"),
    [("{0}", (0, 4)), ("{0}/full", (0, 4)), ("{0}/1", (4, 4)), ("another", (4, 4)), ("{0}/x", (4, 4))],
)
def test_what_an_approval_says(approval: str, numbers: tuple[int, int]) -> None:
    story = Fleet()
    story.to_first_step(4, {**CANARY, "canary": {"steps": [{"weight": 50, "waitForApproval": True}] * 2}})
    story.play(OTHER, 5)
    rollout = (story.last.status or {})["progress"]["rollout"]
    story.seen = replace(story.seen, annotations={"ensembles.dev/promote": approval.format(rollout)})
    story.play(OTHER, 15)
    assert story.numbers() == numbers


def test_a_canary_that_crashes_gives_all_requests_back() -> None:
    story = Fleet()
    story.to_first_step(4, CANARY)
    story.play(OTHER, 5)
    story.crash()
    for _ in range(5):
        story.step(2)
    assert story.numbers() == (4, 0)
    assert len(story.reached()) == 4
    assert story.reason == "LoadFailed"
    assert condition(story.last, "Stalled")


def test_a_canary_begins_again_at_its_first_step_when_it_is_wanted_again() -> None:
    story = Fleet()
    story.to_first_step(4, CANARY)
    story.play(OTHER, 45)
    assert story.numbers() == (4, 4)
    story.want(SPEC["models"])
    story.play(REVISION, 10)
    assert story.numbers() == (4, 0)
    story.want()
    story.play(OTHER, 12)
    assert story.numbers() == (4, 1)
    assert (story.last.status or {})["progress"]["step"] == 1


def steps(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"canary": {"steps": list(steps)}}


FIRST, APPROVED = {"weight": 25, "pauseSeconds": 60}, {"weight": 50, "waitForApproval": True}


def at_the_second_step() -> Fleet:
    """Four servers of a canary wait for approval of 50 %."""
    story = Fleet()
    story.to_first_step(4, {**CANARY, **steps(FIRST, APPROVED)})
    story.play(OTHER, 45)
    assert story.numbers() == (4, 4)
    return story


def step_of(story: Fleet) -> int:
    return int((story.last.status or {})["progress"]["step"])


def test_a_canary_whose_present_step_is_taken_away_begins_anew_and_is_not_promoted() -> None:
    story = at_the_second_step()
    story.want(**steps(FIRST))
    story.play(OTHER, 25)
    assert (story.active, story.numbers(), step_of(story)) == (story.old, (4, 1), 1)
    story.play(OTHER, 25)
    assert (story.reason, story.numbers()) == ("Ready", (0, 4))


def test_an_approval_of_former_steps_is_none_of_new_ones() -> None:
    story = at_the_second_step()
    rollout = (story.last.status or {})["progress"]["rollout"]
    story.seen = replace(story.seen, annotations={"ensembles.dev/promote": f"{rollout}/1@1"})
    story.play(OTHER, 2)
    story.want(**steps({"weight": 25, "waitForApproval": True}))
    story.play(OTHER, 60)
    assert (story.active, story.numbers(), step_of(story)) == (story.old, (4, 1), 1)
    story.seen = replace(story.seen, annotations={"ensembles.dev/promote": f"{rollout}/1@2"})
    story.play(OTHER, 20)
    assert story.reason == "Ready"


def test_steps_that_are_shortened_while_the_last_servers_come() -> None:
    story = Fleet()
    story.to_first_step(4, {**CANARY, **steps({"weight": 20}, {"weight": 25})})
    story.until_numbers(lambda _, new: new == 4, moves=False)
    story.want(**steps({"weight": 20, "waitForApproval": True}))
    story.play(OTHER, 60)
    assert (story.active, step_of(story), story.numbers()) == (story.old, 1, (4, 1))


@pytest.mark.parametrize(
    "changed",
    [
        [FIRST, {**APPROVED, "pauseSeconds": 5}],
        [FIRST, APPROVED, {"weight": 90, "pauseSeconds": 60}],
        [{**FIRST}, {**APPROVED}],
    ],
)
def test_a_canary_goes_on_where_what_it_has_passed_stays(changed: list[dict[str, Any]]) -> None:
    story = at_the_second_step()
    story.want(**steps(*changed))
    story.play(OTHER, 20)
    assert (story.numbers(), step_of(story)) == ((4, 4), 2)
    story.want(**steps(FIRST, {"weight": 50}))
    story.play(OTHER, 20)
    assert story.reason == "Ready"


class LaterStep(CanaryStep):
    """A step as a later operator may know it."""

    probe_seconds: int = 0


def test_what_a_later_operator_knows_of_steps_restarts_no_canary() -> None:
    story = at_the_second_step()
    spec = story.seen.spec
    assert spec is not None
    assert spec.rollout.canary is not None
    known = [LaterStep.model_validate(step.model_dump(by_alias=True)) for step in spec.rollout.canary.steps]
    canary = spec.rollout.canary.model_copy(update={"steps": known})
    later = spec.model_copy(update={"rollout": spec.rollout.model_copy(update={"canary": canary})})
    story.seen = replace(story.seen, spec=later)
    story.play(OTHER, 10)
    assert (story.numbers(), step_of(story)) == ((4, 4), 2)
