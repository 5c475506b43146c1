"""A share of the requests, where the spec that follows cannot be built: nobody steps on, nobody measures."""

from __future__ import annotations

from typing import Any

import pytest

from ensembles_api.reasons import Reason
from tests.unit.plan.fleet import CANARY, OTHER, ROLLING, Fleet
from tests.unit.plan.test_gateway_canary import Routed
from tests.unit.plan.world import SPEC, condition, fault

ONE = SPEC["models"][:1]
MISSING = {"name": "late", "key": "pipe"}


def sharing(rollout: dict[str, Any] = CANARY) -> Fleet:
    """Servers of the second revision get a share of the requests."""
    story = Fleet()
    story.to_first_step(4, rollout)
    story.play(OTHER, 5)
    assert all(story.numbers())
    return story


def go_on(story: Fleet, passes: int, seconds: float = 2) -> None:
    """Former servers that come back get ready."""
    for _ in range(passes):
        story.step(seconds)
        story.servers_ready(story.old)
        assert len(story.reached()) >= 3


def is_alone(story: Fleet) -> bool:
    return story.numbers() == (4, 0) and {story.of(pod.labels) for pod in story.reached()} == {story.old}


def progress(story: Fleet) -> dict[str, Any]:
    return dict((story.last.status or {})["progress"])


@pytest.mark.parametrize("rollout", [CANARY, ROLLING], ids=["canary", "rolling"])
def test_the_requests_go_back_where_the_next_spec_is_found_wrong(rollout: dict[str, Any]) -> None:
    story = sharing(rollout)
    numbers, rollout_told = story.numbers(), progress(story)["rollout"]
    story.want(ONE)
    story.step(2)
    assert story.numbers() == numbers, "it may turn out to be the same revision"
    assert progress(story)["rollout"] == rollout_told, "and is shown until that is known"
    story.end("assemble", "failed", result=fault(Reason.INVALID_MODEL))
    go_on(story, 20)
    assert is_alone(story)
    assert condition(story.last, "Stalled")["reason"] == "InvalidModel"  # type: ignore[index]
    assert "progress" not in (story.last.status or {})


@pytest.mark.parametrize(
    "changed", [{"runtime": {"release": "nope"}}, {"rollout": {"pinRevision": "9" * 64}}]
)
def test_the_requests_go_back_where_nothing_can_be_wanted(changed: dict[str, Any]) -> None:
    story = sharing()
    rollout = {**CANARY, **changed.get("rollout", {})}
    story.change(**{"models": ONE, "serving": {"replicas": 4}, **changed, "rollout": rollout})
    go_on(story, 5)
    assert is_alone(story)
    assert condition(story.last, "Stalled")


def test_what_may_still_be_applied_is_waited_for() -> None:
    story = sharing()
    late = {"name": "preprocess", "dali": {"source": {"configMap": MISSING}}}
    story.want([late])
    go_on(story, 11, seconds=10)
    assert story.numbers() == (4, 1)
    assert progress(story)["step"] == 1
    go_on(story, 5, seconds=10)
    assert is_alone(story)
    assert condition(story.last, "Stalled")["reason"] == "ConfigMapMissing"  # type: ignore[index]


def test_a_pause_keeps_the_share_beside_a_wrong_spec() -> None:
    story = sharing()
    story.change(
        models=ONE, serving={"replicas": 4}, rollout={**CANARY, "paused": True}, runtime={"release": "nope"}
    )
    go_on(story, 5)
    assert story.numbers() == (4, 1)
    assert progress(story)["step"] == 1


def test_a_spec_that_is_mended_begins_at_the_first_step() -> None:
    story = sharing()
    story.change(models=ONE, serving={"replicas": 4}, rollout=CANARY, runtime={"release": "nope"})
    go_on(story, 5)
    story.want()
    story.play(OTHER, 12)
    assert story.numbers() == (4, 1)
    assert progress(story)["step"] == 1


def test_routes_go_back_before_the_servers_of_a_share_end() -> None:
    story = Routed()
    story.to_first_step(4, CANARY)
    story.change(models=ONE, serving={"replicas": 4}, rollout=CANARY, runtime={"release": "nope"})
    story.step(2)
    assert (story.shares(), story.numbers()) == ((0, 0), (4, 1))
    for _ in range(20):
        story.step(2)
        story.gateway_says()
        assert story.answered()
    assert story.numbers() == (4, 0)


@pytest.mark.parametrize("rollout", [CANARY, ROLLING], ids=["canary", "rolling"])
@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_an_operator_that_dies_again_and_again_ends_at_the_former_servers(
    rollout: dict[str, Any], killed_after: int
) -> None:
    story = sharing(rollout)
    story.change(models=ONE, serving={"replicas": 4}, rollout=rollout, runtime={"release": "nope"})
    for _ in range(10):
        story.step(2, killed_after=killed_after)
        story.servers_ready(story.old)
        assert len(story.reached()) >= 3
    go_on(story, 20)
    assert is_alone(story)
