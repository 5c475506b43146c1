"""RollingUpdate: numbers of old and new servers at every moment, forward and back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ensemble_operator.plan.observation import PodSeen
from tests.unit.plan.fleet import OTHER, ROLLING, SCARCE, Fleet
from tests.unit.plan.world import SPEC, condition, created


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable"),
    [(3, 1, 0), (3, 2, 1), (3, 0, 1), (4, 0, 3), (5, 100, 0), (1, 1, 0), (2, 0, 1)],
)
def test_a_rolling_update_stays_within_its_limits_and_always_answers(
    replicas: int, surge: int, unavailable: int
) -> None:
    story = Fleet()
    limits = {"maxSurge": surge, "maxUnavailable": unavailable}
    story.begin(replicas, {**ROLLING, "rollingUpdate": limits})
    story.want()
    seen = set()
    for _ in range(60):
        story.step(2)
        old, new = story.numbers()
        seen.add((old, new))
        assert old + new <= replicas + surge
        assert len(story.reached()) >= replicas - unavailable
        story.cluster_moves(OTHER)
    assert story.reason == "Ready"
    assert (story.last.status or {})["revision"] == OTHER
    assert story.numbers() == (0, replicas)
    first = min(replicas, surge or unavailable)
    assert all(new <= first or old < replicas for old, new in seen)


def test_a_rolling_update_counts_a_server_only_once_every_node_knows_it() -> None:
    story = Fleet()
    story.begin(3, ROLLING)
    story.want()
    story.until("Promoting")
    begun = story.seen.now
    for _ in range(5):
        story.step(1)
        known = (story.seen.now - begun).total_seconds() >= 3
        assert story.numbers()[0] == (2 if known else 3)
        assert known or story.last.wake is not None


def test_a_rolling_update_without_surge_takes_an_old_server_before_it_starts_a_new_one() -> None:
    story = Fleet()
    story.begin(2, SCARCE)
    story.want()
    story.until_numbers(lambda old, _: old < 2, moves=False)
    assert story.numbers() == (1, 1)
    assert [j.state for j in story.jobs("verify")][1:] == ["active"]


def test_a_rolling_update_of_which_the_first_server_fails_leaves_everything_as_it_was() -> None:
    story = Fleet()
    story.begin(3, SCARCE)
    story.want()
    story.first_server_crashes(passes=10)


@pytest.mark.parametrize(
    "limits", [{"maxSurge": 1, "maxUnavailable": 0}, {"maxSurge": 0, "maxUnavailable": 1}]
)
def test_a_rolling_update_that_fails_halfway_goes_back_server_by_server(limits: dict[str, int]) -> None:
    story = Fleet()
    story.begin(3, {**ROLLING, "rollingUpdate": limits})
    story.want()
    story.until_numbers(lambda old, new: new >= 2 and old <= 2)
    story.crash()
    for _ in range(40):
        story.step(2)
        assert sum(story.numbers()) <= 3 + limits["maxSurge"] + 1
        assert len(story.reached()) >= 1
        story.servers_ready(story.old)
    assert story.numbers() == (3, 0)
    assert story.active == story.old
    assert story.reason == "LoadFailed"
    assert condition(story.last, "Stalled")
    failed = max(story.seen.rollouts, key=lambda r: r.number)
    assert failed.annotations["ensembles.dev/outcome"] == "Failed"


@pytest.mark.parametrize("replicas", [1, 5])
def test_the_number_of_servers_changes_in_the_middle_of_a_rolling_update(replicas: int) -> None:
    story = Fleet()
    story.to_first_step(3, ROLLING)
    story.play(OTHER, 3)
    story.replicas = replicas
    story.want()
    for _ in range(50):
        story.step(2)
        assert story.reached()
        story.cluster_moves(OTHER)
    assert story.reason == "Ready"
    assert story.numbers() == (0, replicas)


def test_former_servers_that_cannot_come_back_say_why() -> None:
    story = Fleet()
    story.begin(3, ROLLING)
    story.want()
    story.until_numbers(lambda old, new: new >= 2 and old <= 1)
    story.want(SPEC["models"])
    story.step(2)
    (old,) = [d for d in story.seen.deployments if story.of(d.labels) == story.old]
    waiting = PodSeen(
        name="w", uid="w", labels=old.labels, phase="Pending", created=story.seen.now, scheduled=False,
        unscheduled_reason="Unschedulable", unscheduled_message="0/1 nodes: Insufficient cpu",
    )  # fmt: skip
    story.seen = replace(
        story.seen,
        deployments=tuple(
            replace(d, pods=(*d.pods, waiting)) if d.name == old.name else d for d in story.seen.deployments
        ),
    )
    story.step(2)
    assert story.reason == "Unschedulable"
    assert "Insufficient cpu" in (condition(story.last, "Reconciling") or {})["message"]
    assert len(story.reached()) >= 2


def test_verified_first_servers_are_as_many_as_the_job_waits_for() -> None:
    story = Fleet()
    story.begin(4, {**ROLLING, "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}})
    story.want()
    story.until_numbers(lambda _, new: new > 0, moves=False)
    assert story.numbers() == (4, 2)
    (manifest,) = created(story.last, "Job")
    arguments = manifest["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[arguments.index("--replicas") + 1] == "2"
