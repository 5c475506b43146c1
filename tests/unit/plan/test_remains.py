"""Pods that are no servers any more: evicted ones, which stay as objects, and those that end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ensemble_operator.plan.observation import ContainerSeen, PodSeen
from tests.unit.plan.fleet import OTHER, RECREATE, ROLLING, THIRD, Fleet
from tests.unit.plan.world import SPEC, T0, condition

EVICTED = PodSeen(name="evicted", uid="evicted", labels={}, phase="Failed", reason="Evicted", created=T0)


def leave(story: Fleet, *remains: PodSeen) -> None:
    """The first rollout's Deployment has these pods beside its servers."""
    story.seen = replace(
        story.seen,
        deployments=tuple(
            replace(d, pods=(*(pod for pod in d.pods if pod.ready), *remains))
            if story.of(d.labels) == story.old
            else d
            for d in story.seen.deployments
        ),
    )


def test_recreate_does_not_wait_for_pods_that_were_evicted_long_ago() -> None:
    story = Fleet()
    story.begin(2, RECREATE)
    story.want()
    for _ in range(40):
        leave(story, EVICTED)
        story.step(2)
        story.cluster_moves(OTHER)
    assert story.reason == "Ready"
    assert story.numbers() == (0, 2)


@pytest.mark.parametrize(
    "gone", [EVICTED, replace(EVICTED, phase="Running", reason="", deleting=True)], ids=["evicted", "ending"]
)
def test_only_servers_that_may_still_come_are_waited_for_when_a_rolling_update_goes_back(
    gone: PodSeen,
) -> None:
    story = Fleet()
    story.begin(3, ROLLING)
    story.step(3600)
    story.want()
    story.until_numbers(lambda old, new: new >= 2 and old <= 1)
    story.crash()
    remains = tuple(replace(gone, name=f"gone-{number}", uid=f"gone-{number}") for number in range(3))
    for _ in range(4):
        leave(story, *remains)
        story.step(2)
        assert len(story.reached()) >= 2, "the Service moved to the one old server that is left"
    leave(story)
    for _ in range(40):
        story.step(2)
        story.servers_ready(story.old)
    assert story.numbers() == (3, 0)


def test_an_evicted_pod_fails_no_rollout() -> None:
    story = Fleet()
    story.begin(2, ROLLING)
    story.want()
    story.until_numbers(lambda _, new: new >= 1)
    ended = ContainerSeen(name="tritonserver", exit_code=137, restarts=2)
    (new,) = [d for d in story.seen.deployments if story.of(d.labels) != story.old]
    pods = (*new.pods, replace(EVICTED, labels=new.labels, containers=(ended,)))
    rest = tuple(d for d in story.seen.deployments if d.name != new.name)
    story.seen = replace(story.seen, deployments=(*rest, replace(new, pods=pods)))
    story.step(2)
    assert condition(story.last, "Stalled") is None
    assert story.reason != "LoadFailed"


def test_a_pause_keeps_the_numbers_of_a_mix_though_another_spec_comes() -> None:
    story = Fleet()
    story.begin(4, ROLLING)
    story.want()
    story.until_numbers(lambda old, new: new >= 2 and old <= 2)
    numbers = story.numbers()
    story.want(SPEC["models"][:1], paused=True)
    story.play(THIRD, 10)
    assert story.reason == "Paused"
    assert story.numbers() == numbers
