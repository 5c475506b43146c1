"""A canary beside servers whose number an autoscaler sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.plan.story import Story
from tests.unit.plan.test_autoscaling import CPU, aims, moved, scaled, servers
from tests.unit.plan.world import REVISION


def canary_of(old: int, *steps: dict[str, Any]) -> tuple[Story, str, dict[str, Any]]:
    """`old` servers, as the autoscaler wants, beside which a canary begins."""
    rollout = {"strategy": "Canary", "canary": {"steps": list(steps)}, "retainSeconds": 0, "watchSeconds": 0}
    story = scaled()
    first = str(story.active)
    moved(story, old)
    story.change(autoscaling=CPU, rollout=rollout, serving={"extraArgs": ["--log-verbose=1"]})
    return story, first, rollout


def new_servers(story: Story, first: str) -> int:
    return sum(count for rollout, count in servers(story).items() if rollout != first)


def play(story: Story, steps: int) -> None:
    for _ in range(steps):
        story.step(2)
        story.cluster_moves(REVISION)


def test_a_canarys_share_follows_the_number_that_the_autoscaler_sets() -> None:
    story, first, _ = canary_of(8, {"weight": 25, "waitForApproval": True})
    play(story, 10)
    assert (story.reason, new_servers(story, first)) == ("Stepping", 2)
    for old, new in ((3, 1), (1, 1), (8, 2)):
        moved(story, old, rollout=first)
        play(story, 3)
        assert servers(story)[first] == old, "the autoscaler's"
        assert new_servers(story, first) == new
        assert len(aims(story)) == 1


def test_as_many_servers_take_over_from_a_canary_as_answered_together() -> None:
    story, first, _ = canary_of(8, {"weight": 50, "waitForApproval": True})
    play(story, 10)
    assert new_servers(story, first) == 8
    moved(story, 3, rollout=first)  # all servers share the load: half of them do
    play(story, 3)
    assert new_servers(story, first) == 3
    progress = (story.last.status or {})["progress"]
    story.seen = replace(story.seen, annotations={"ensembles.dev/promote": progress["rollout"]})
    for _ in range(9):
        if new_servers(story, first) == 3:
            play(story, 1)
    assert new_servers(story, first) == 6
    moved(story, 1, rollout=first)
    play(story, 1)
    assert new_servers(story, first) == 6, "of what carries the load nothing goes"
    play(story, 12)
    assert (story.reason, servers(story)) == ("Ready", {story.active: 6})
