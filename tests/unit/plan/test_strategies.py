"""What holds for every strategy: pauses, other specs in the middle, kills, and who answers meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensembles_api.contract import Result
from tests.unit.plan.fleet import CANARY, OTHER, RECREATE, ROLLING, SCARCE, THIRD, Fleet
from tests.unit.plan.world import REVISION, SPEC, condition, missing_dali


@pytest.mark.parametrize("rollout", [ROLLING, SCARCE, CANARY], ids=["surge", "scarce", "canary"])
def test_another_spec_in_the_middle_ends_at_the_last(rollout: dict[str, Any]) -> None:
    story = Fleet()
    story.to_first_step(3, rollout)
    story.play(OTHER, 4)
    story.want(SPEC["models"][:1], strategy="RollingUpdate", canary=None)
    for _ in range(80):
        story.step(2)
        assert len(story.reached()) >= 2
        story.cluster_moves(THIRD)
    assert story.reason == "Ready"
    assert (story.last.status or {})["revision"] == THIRD
    assert len(story.seen.deployments) == 1


@pytest.mark.parametrize("rollout", [ROLLING, CANARY], ids=["rolling", "canary"])
def test_the_spec_goes_back_in_the_middle(rollout: dict[str, Any]) -> None:
    story = Fleet()
    story.to_first_step(3, rollout)
    story.play(OTHER, 4)
    story.want(SPEC["models"])
    story.play(REVISION, 30)
    assert story.reason == "Ready"
    assert story.active == story.old
    assert story.numbers() == (3, 0)
    assert [r.annotations.get("ensembles.dev/step", "") for r in story.seen.rollouts] == ["", ""]


@pytest.mark.parametrize("rollout", [ROLLING, CANARY], ids=["rolling", "canary"])
@pytest.mark.parametrize("paused", [False, True])
def test_a_headless_service_that_is_deleted_or_edited_in_the_middle_is_put_back(
    rollout: dict[str, Any], *, paused: bool
) -> None:
    story = Fleet()
    story.begin(4, rollout)
    story.want(paused=False)
    story.until("Stepping")
    story.play(OTHER, 1)
    story.want(paused=paused)
    story.play(OTHER, 1)
    before = {s.name: s.manifest["spec"]["selector"] for s in story.seen.services}
    assert len(before) == 3, "the Service, and one of each rollout"
    story.seen = replace(story.seen, services=tuple(s for s in story.seen.services if s.name == "net"))
    story.step(1)
    assert {s.name: s.manifest["spec"]["selector"] for s in story.seen.services} == before
    edited = tuple(
        replace(s, manifest={**s.manifest, "spec": {**s.manifest["spec"], "selector": {"app": "x"}}})
        for s in story.seen.services
    )
    story.seen = replace(story.seen, services=edited)
    story.step(1)
    assert {s.name: s.manifest["spec"]["selector"] for s in story.seen.services} == before


@pytest.mark.parametrize("rollout", [ROLLING, CANARY, RECREATE, {"retainSeconds": 0, "watchSeconds": 0}])
def test_paused_begins_nothing_and_resumes(rollout: dict[str, Any]) -> None:
    story = Fleet()
    story.begin(3, rollout)
    story.want(paused=True)
    story.play(OTHER, 20)
    assert story.reason == "Paused"
    assert not condition(story.last, "Reconciling")
    assert not condition(story.last, "Stalled")
    assert story.numbers() == (3, 0)
    assert story.last.actions == ()
    story.want(paused=False)
    for _ in range(10):
        story.play(OTHER, 10)
        newest = max(story.seen.rollouts, key=lambda r: r.number).name.rpartition("-")[2]
        story.seen = replace(story.seen, annotations={"ensembles.dev/promote": newest})
    assert story.reason == "Ready"
    assert story.numbers() == (0, 3)


@pytest.mark.parametrize("rollout", [ROLLING, CANARY], ids=["rolling", "canary"])
def test_a_pause_in_the_middle_keeps_the_mix(rollout: dict[str, Any]) -> None:
    story = Fleet()
    story.to_first_step(4, rollout)
    story.play(OTHER, 4)
    story.want(paused=True)
    story.step(1)
    numbers = story.numbers()
    assert all(numbers)
    story.play(OTHER, 10, seconds=60)
    assert story.reason == "Paused"
    assert story.numbers() == numbers
    assert len(story.reached()) == sum(numbers)
    # What a client reaches is healed all the same.
    lost = story.seen.deployments[-1]
    story.seen = replace(story.seen, deployments=story.seen.deployments[:-1])
    story.play(OTHER, 2)
    assert lost.name in {d.name for d in story.seen.deployments}


def test_nothing_unverified_comes_in_a_pause_while_the_service_selects_every_server() -> None:
    """The old servers have ended, those of the second rollout answer alone, and a third is asked for."""
    story = Fleet()
    story.begin(2, {**ROLLING, "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}})
    story.want()
    story.until_numbers(lambda old, _: old == 0, moves=False)
    selector = story.selector
    assert "ensembles.dev/rollout" not in selector
    story.want(SPEC["models"][:1], paused=True)
    for _ in range(10):
        story.step(2)
        story.servers_ready()
        assert {pod.labels["ensembles.dev/rollout"] for pod in story.reached()} == {
            r.name.rpartition("-")[2] for r in story.seen.rollouts if r.data.revision == OTHER
        }
        for job in story.seen.jobs:
            if job.state == "active":
                story.cluster_moves(THIRD)
    assert story.reason == "Paused"
    story.want(SPEC["models"][:1], paused=False)
    story.play(THIRD, 60)
    assert (story.reason, (story.last.status or {})["revision"]) == ("Ready", THIRD)


@pytest.mark.parametrize("rollout", [ROLLING, CANARY], ids=["rolling", "canary"])
def test_servers_that_never_get_ready_are_named(rollout: dict[str, Any]) -> None:
    story = Fleet()
    story.to_first_step(4, rollout)
    story.play(OTHER, 1)
    (new,) = [d for d in story.seen.deployments if story.of(d.labels) != story.old]
    slow = replace(new.pods[-1], ready=False, ready_since=None, not_ready_since=story.seen.now)
    story.seen = replace(
        story.seen,
        deployments=tuple(
            replace(d, pods=(*d.pods[:-1], slow)) if d.name == new.name else d for d in story.seen.deployments
        ),
    )
    for _ in range(5):
        story.step(60)
    said = (condition(story.last, "Reconciling") or {})["message"]
    assert f"pod {slow.name} is not ready since" in said


@pytest.mark.parametrize("rollout", [ROLLING, CANARY], ids=["rolling", "canary"])
@pytest.mark.parametrize("paused", [False, True])
def test_while_the_next_spec_is_built_nothing_shares_the_requests_that_is_not_wanted_any_more(
    rollout: dict[str, Any], *, paused: bool
) -> None:
    story = Fleet()
    story.to_first_step(4, rollout)
    story.play(OTHER, 4)
    numbers = story.numbers()
    assert all(numbers)
    story.want(SPEC["models"][:1], paused=paused)
    for _ in range(3):
        story.step(2)
        assert story.numbers() == numbers, "it may turn out to be the same revision"
    story.end("assemble", result=missing_dali())
    for _ in range(30):
        story.step(2)
        story.servers_ready()
        assert len(story.reached()) >= 4
    assert story.reason == "Building"
    if paused:
        assert story.numbers() == numbers
        return
    assert {story.of(pod.labels) for pod in story.reached()} == {story.old}
    assert story.numbers() == (4, 0)
    story.play(THIRD, 30)
    assert any(r.data.revision == THIRD for r in story.seen.rollouts)


def test_taking_back_goes_on_while_a_later_round_is_assembled() -> None:
    story = Fleet()
    story.begin(4, ROLLING)
    story.want()
    story.until_numbers(lambda old, _: old == 2)
    story.want(SPEC["models"][:1])
    story.step(1)
    story.end("assemble", result=missing_dali())
    story.step(1)
    story.end("build", result=Result())
    for _ in range(30):
        story.step(2)
        story.servers_ready(story.old)
    assert story.reason == "Assembling"
    assert {story.of(pod.labels) for pod in story.reached()} == {story.old}
    assert story.numbers() == (4, 0)


@pytest.mark.parametrize("rollout", [{**ROLLING, "rollingUpdate": {"maxUnavailable": 1}}, RECREATE])
def test_new_servers_that_answer_alone_do_so_while_the_next_spec_is_built(rollout: dict[str, Any]) -> None:
    story = Fleet()
    story.begin(1, rollout)
    story.want()
    for _ in range(60):
        story.step(1)
        selector = story.selector
        if story.numbers()[0] == 0 and "ensembles.dev/rollout" not in selector:
            break
        story.cluster_moves(OTHER)
    assert story.numbers() == (0, 1)
    story.want(SPEC["models"][:1])
    story.step(2)
    story.end("assemble", result=missing_dali())
    for _ in range(30):
        story.step(60)
        assert len(story.reached()) == 1
    assert story.reason == "Building"
    story.play(THIRD, 40)
    assert (story.reason, (story.last.status or {})["revision"]) == ("Ready", THIRD)


def _end(story: Fleet) -> dict[str, Any]:
    return {
        "reason": story.reason,
        "revision": (story.last.status or {})["revision"],
        "deployments": {(d.name, d.replicas) for d in story.seen.deployments},
        "selector": story.selector,
        "steps": [r.annotations.get("ensembles.dev/step", "") for r in story.seen.rollouts],
        "actions": story.last.actions,
    }


QUICK_CANARY = {**CANARY, "canary": {"steps": [{"weight": 10, "pauseSeconds": 5}, {"weight": 50}]}}


@settings(max_examples=25, deadline=None)
@given(
    rollout=st.sampled_from([ROLLING, SCARCE, RECREATE, QUICK_CANARY]),
    kills=st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=10, max_size=40),
)
def test_killed_anywhere_a_rollout_ends_the_same(rollout: dict[str, Any], kills: list[int | None]) -> None:
    ends = []
    for turns in (kills, []):
        story = Fleet()
        story.begin(3, rollout)
        story.want()
        for kill in turns:
            story.step(2, killed_after=kill)
            assert rollout is RECREATE or len(story.reached()) >= 2
            story.cluster_moves(OTHER)
        story.play(OTHER, 50)
        story.step(300)
        story.step(300)
        ends.append(_end(story))
    assert ends[0]["reason"] == "Ready"
    assert ends[0]["revision"] == OTHER
    assert ends[0] == ends[1]


WRONG = {"pinRevision": "9" * 64}
"""A revision that never was: somebody must mend the spec."""


@settings(max_examples=25, deadline=None)
@given(
    turns=st.lists(
        st.tuples(
            st.sampled_from([(REVISION, 3), (OTHER, 2), (THIRD, 1)]),
            st.sampled_from([ROLLING, SCARCE, QUICK_CANARY, {"retainSeconds": 0, "watchSeconds": 0}]),
            st.integers(2, 4),  # a single one that may be unavailable is an outage, as asked for
            st.integers(1, 12),
            st.sampled_from([{}, {"paused": True}, WRONG]),
        ),
        max_size=6,
    )
)
def test_whatever_is_asked_for_in_the_middle_the_last_serves_and_somebody_always_does(turns: Any) -> None:
    story = Fleet()
    story.begin(3, ROLLING)
    for (revision, models), rollout, replicas, steps, changed in [*turns, ((OTHER, 2), ROLLING, 3, 60, {})]:
        story.replicas, story.rollout = replicas, rollout
        story.want(SPEC["models"][:models], **{"paused": False, "pinRevision": None, **changed})
        for _ in range(steps):
            story.step(2)
            assert story.reached()
            assert {story.of(pod.labels) for pod in story.reached()} <= story.proven
            story.cluster_moves(revision)
    story.step(300)
    story.step(300)
    assert story.reason == "Ready"
    assert (story.last.status or {})["revision"] == OTHER
    assert [d.replicas for d in story.seen.deployments] == [3]
    assert story.last.actions == ()
