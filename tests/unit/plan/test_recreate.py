"""Recreate: the old servers end before new ones come, and return where these fail."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.plan.fleet import OTHER, RECREATE, Fleet
from tests.unit.plan.world import SPEC, condition, missing_dali


def test_recreate_ends_the_old_servers_before_it_starts_new_ones() -> None:
    story = Fleet()
    story.begin(2, RECREATE)
    story.want()
    for _ in range(60):
        story.step(2)
        old, new = story.numbers()
        assert not (old and new)
        story.cluster_moves(OTHER)
    assert story.reason == "Ready"
    assert story.numbers() == (0, 2)


def test_recreate_waits_for_the_last_pod_of_the_old_servers() -> None:
    story = Fleet()
    story.begin(1, RECREATE)
    story.want()
    leaving = story.seen.deployments[0].pods
    story.until_numbers(lambda old, _: not old, moves=False)
    (old,) = story.seen.deployments
    story.seen = replace(story.seen, deployments=(replace(old, pods=(replace(leaving[0], deleting=True),)),))
    for _ in range(5):
        story.step(2)
    assert len(story.seen.deployments) == 1
    story.seen = replace(story.seen, deployments=(old,))
    story.step(2)
    assert len(story.seen.deployments) == 2


def test_recreate_names_the_pod_that_does_not_end_and_what_to_do() -> None:
    story = Fleet()
    story.begin(1, RECREATE)
    story.want()
    serving = story.seen.deployments[0].pods
    story.until_numbers(lambda old, _: not old, moves=False)
    (old,) = story.seen.deployments
    due = story.seen.now + timedelta(seconds=30)
    pod = replace(serving[0], name="net-old-1", deleting=True, ends_by=due, node="gpu-7")
    story.seen = replace(story.seen, deployments=(replace(old, pods=(pod,)),))
    story.step(1)
    said = (condition(story.last, "Reconciling") or {})["message"]
    assert said == "the old servers end before new ones are started: pod net-old-1"
    assert story.last.wake == due + timedelta(seconds=60)
    story.step(90)
    said = (condition(story.last, "Reconciling") or {})["message"]
    assert "net-old-1 should have ended at" in said
    assert said.endswith("if that node is gone for good, kubectl delete node gpu-7")


def test_recreate_brings_the_old_servers_back_where_the_new_ones_fail() -> None:
    story = Fleet()
    story.begin(2, RECREATE)
    story.want()
    story.first_server_crashes(passes=5)


def test_a_pause_does_not_prolong_an_outage() -> None:
    story = Fleet()
    story.begin(2, RECREATE)
    story.want()
    story.until_numbers(lambda old, _: not old)
    story.want(paused=True)
    story.play(OTHER, 20)
    assert story.reason == "Ready"
    assert story.numbers() == (0, 2)


class Asked(Fleet):
    """A fleet whose spec says what to do where its servers hold the GPU."""

    when_busy = "Wait"

    def change(self, **changes: Any) -> None:
        super().change(**{"build": {"whenGPUBusy": self.when_busy}, **changes})


@pytest.mark.parametrize("when_busy", ["Wait", "StopServing"])
def test_the_old_servers_come_back_while_another_spec_is_built_without_a_gpu(when_busy: str) -> None:
    story = Asked()
    story.when_busy = when_busy
    story.begin(2, RECREATE)
    story.want()
    story.until_numbers(lambda old, new: old == 0 and new > 0, moves=False)
    story.want(SPEC["models"][:1])
    story.step(1)
    story.end("assemble", result=missing_dali())
    for _ in range(3):
        story.step(60)
        story.servers_ready(story.old)
    assert story.reason == "Building"
    assert story.numbers() == (2, 0)
    assert len(story.reached()) == 2
