"""How new servers replace the old ones: stories of each strategy, with what clients reach at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble_operator.plan.actions import Plan
from ensemble_operator.plan.observation import ContainerSeen, PodSeen
from tests.unit.plan.world import REVISION, SPEC, Story, condition, created, missing_dali

OTHER, THIRD = "4" * 64, "5" * 64
NEW_MODELS = SPEC["models"][:2]
ROLLING: dict[str, Any] = {"strategy": "RollingUpdate", "retainSeconds": 0, "watchSeconds": 0}
SCARCE = {**ROLLING, "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
RECREATE: dict[str, Any] = {"strategy": "Recreate", "retainSeconds": 0, "watchSeconds": 0}
CANARY: dict[str, Any] = {
    "strategy": "Canary",
    "retainSeconds": 0,
    "watchSeconds": 0,
    "canary": {"steps": [{"weight": 25, "pauseSeconds": 60}, {"weight": 50, "waitForApproval": True}]},
}


class Fleet(Story):
    """A story that looks at numbers of servers."""

    proven: frozenset[str] = frozenset()
    """Rollouts of which servers have been verified."""

    def step(self, seconds: float = 1, *, killed_after: int | None = None) -> Plan:
        self.proven |= {self.of(job.labels) for job in self.jobs("verify") if job.state == "succeeded"}
        return super().step(seconds, killed_after=killed_after)

    def begin(self, replicas: int, rollout: dict[str, Any]) -> None:
        """`replicas` servers of the first revision serve, alone."""
        self.replicas, self.rollout = replicas, rollout
        self.change(serving={"replicas": replicas}, rollout=rollout)
        self.until_ready()
        self.play(REVISION, 12)
        assert self.reason == "Ready"
        self.old = self.active

    def want(self, models: list[dict[str, Any]] = NEW_MODELS, **rollout: Any) -> None:
        self.rollout = {**self.rollout, **rollout}
        self.change(models=models, serving={"replicas": self.replicas}, rollout=self.rollout)

    def play(self, revision: str, steps: int = 30, seconds: float = 2) -> None:
        for _ in range(steps):
            self.step(seconds)
            self.cluster_moves(revision)

    def numbers(self) -> tuple[int, int]:
        """Servers of the first rollout, and of all others."""
        old = sum(d.replicas for d in self.seen.deployments if self.of(d.labels) == self.old)
        return old, sum(d.replicas for d in self.seen.deployments) - old

    def reached(self) -> list[PodSeen]:
        """Pods that the Service leads to."""
        service = next(s for s in self.seen.services if s.name == "net")
        selected = service.manifest["spec"]["selector"].get("ensembles.dev/rollout")
        return [
            pod
            for d in self.seen.deployments
            for pod in d.pods[: d.ready_replicas]
            if pod.ready and selected in {None, self.of(d.labels)}
        ]

    @staticmethod
    def of(labels: Any) -> str:
        return str(labels["ensembles.dev/rollout"])

    def until_numbers(self, holds: Callable[[int, int], bool], *, moves: bool = True) -> None:
        """Play until the numbers of old and new servers are so; `moves`: the cluster acts after that, too."""
        for _ in range(60):
            self.step(2)
            if not moves and holds(*self.numbers()):
                return
            self.cluster_moves(OTHER)
            if moves and holds(*self.numbers()):
                return
        raise AssertionError(f"{self.numbers()}, {self.reason}")

    def until(self, reason: str, revision: str = OTHER) -> None:
        for _ in range(60):
            if self.reason == reason:
                return
            self.play(revision, 1)
        raise AssertionError(f"{self.reason} instead of {reason}")

    def crash(self) -> None:
        """A server of the newest rollout ends again and again."""
        newest = max(self.seen.rollouts, key=lambda r: r.number).name.rpartition("-")[2]
        ended = ContainerSeen(
            name="tritonserver", exit_code=1, restarts=3, termination_message="error: broken"
        )
        (target,) = [d for d in self.seen.deployments if self.of(d.labels) == newest]
        last = replace(target.pods[-1], ready=False, ready_since=None, containers=(ended,))
        broken = replace(target, pods=(*target.pods[:-1], last), ready_replicas=len(target.pods) - 1)
        rest = tuple(d for d in self.seen.deployments if d.name != target.name)
        self.seen = replace(self.seen, deployments=(*rest, broken))


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
    story.until_numbers(lambda _, new: new > 0, moves=False)
    story.servers_ready()
    story.crash()
    for _ in range(10):
        story.step(2)
        story.servers_ready(story.old)
    assert condition(story.last, "Stalled")
    assert story.reason == "LoadFailed"
    assert story.numbers() == (3, 0)
    assert len(story.reached()) == 3


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
    story.begin(3, ROLLING)
    story.want()
    story.until("Stepping")
    story.play(OTHER, 3)
    story.replicas = replicas
    story.want()
    for _ in range(50):
        story.step(2)
        assert story.reached()
        story.cluster_moves(OTHER)
    assert story.reason == "Ready"
    assert story.numbers() == (0, replicas)


@pytest.mark.parametrize("rollout", [ROLLING, SCARCE, CANARY], ids=["surge", "scarce", "canary"])
def test_another_spec_in_the_middle_ends_at_the_last(rollout: dict[str, Any]) -> None:
    story = Fleet()
    story.begin(3, rollout)
    story.want()
    story.until("Stepping")
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
    story.begin(3, rollout)
    story.want()
    story.until("Stepping")
    story.play(OTHER, 4)
    story.want(SPEC["models"])
    story.play(REVISION, 30)
    assert story.reason == "Ready"
    assert story.active == story.old
    assert story.numbers() == (3, 0)
    assert [r.annotations.get("ensembles.dev/step", "") for r in story.seen.rollouts] == ["", ""]


def test_a_canary_goes_step_by_step_and_waits_for_approval() -> None:
    story = Fleet()
    story.begin(4, CANARY)
    story.want()
    story.until("Stepping")
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
    story.begin(4, {**CANARY, "canary": {"steps": [{"weight": 50, "waitForApproval": True}] * 2}})
    story.want()
    story.until("Stepping")
    story.play(OTHER, 5)
    rollout = (story.last.status or {})["progress"]["rollout"]
    story.seen = replace(story.seen, annotations={"ensembles.dev/promote": approval.format(rollout)})
    story.play(OTHER, 15)
    assert story.numbers() == numbers


def test_a_canary_that_crashes_gives_all_requests_back() -> None:
    story = Fleet()
    story.begin(4, CANARY)
    story.want()
    story.until("Stepping")
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
    story.begin(4, CANARY)
    story.want()
    story.until("Stepping")
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
    story.begin(4, {**CANARY, **steps(FIRST, APPROVED)})
    story.want()
    story.until("Stepping")
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
    story.begin(4, {**CANARY, **steps({"weight": 20}, {"weight": 25})})
    story.want()
    story.until("Stepping")
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
    story.until_numbers(lambda _, new: new > 0, moves=False)
    story.servers_ready()
    story.crash()
    for _ in range(5):
        story.step(2)
        story.servers_ready(story.old)
    assert story.reason == "LoadFailed"
    assert story.numbers() == (2, 0)
    assert len(story.reached()) == 2


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
    story.begin(4, rollout)
    story.want()
    story.until("Stepping")
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


def test_a_pause_does_not_prolong_an_outage() -> None:
    story = Fleet()
    story.begin(2, RECREATE)
    story.want()
    story.until_numbers(lambda old, _: not old)
    story.want(paused=True)
    story.play(OTHER, 20)
    assert story.reason == "Ready"
    assert story.numbers() == (0, 2)


def test_nothing_unverified_comes_in_a_pause_while_the_service_selects_every_server() -> None:
    """The old servers have ended, those of the second rollout answer alone, and a third is asked for."""
    story = Fleet()
    story.begin(2, {**ROLLING, "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}})
    story.want()
    story.until_numbers(lambda old, _: old == 0, moves=False)
    selector = next(s for s in story.seen.services if s.name == "net").manifest["spec"]["selector"]
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
    story.begin(4, rollout)
    story.want()
    story.until("Stepping")
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


@pytest.mark.parametrize("rollout", [ROLLING, CANARY], ids=["rolling", "canary"])
@pytest.mark.parametrize("paused", [False, True])
def test_while_the_next_spec_is_built_nothing_shares_the_requests_that_is_not_wanted_any_more(
    rollout: dict[str, Any], *, paused: bool
) -> None:
    story = Fleet()
    story.begin(4, rollout)
    story.want()
    story.until("Stepping")
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


def _end(story: Fleet) -> dict[str, Any]:
    return {
        "reason": story.reason,
        "revision": (story.last.status or {})["revision"],
        "deployments": {(d.name, d.replicas) for d in story.seen.deployments},
        "selector": next(s for s in story.seen.services if s.name == "net").manifest["spec"]["selector"],
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


@settings(max_examples=25, deadline=None)
@given(
    turns=st.lists(
        st.tuples(
            st.sampled_from([(REVISION, 3), (OTHER, 2), (THIRD, 1)]),
            st.sampled_from([ROLLING, SCARCE, QUICK_CANARY, {"retainSeconds": 0, "watchSeconds": 0}]),
            st.integers(2, 4),  # a single one that may be unavailable is an outage, as asked for
            st.integers(1, 12),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_whatever_is_asked_for_in_the_middle_the_last_serves_and_somebody_always_does(turns: Any) -> None:
    story = Fleet()
    story.begin(3, ROLLING)
    for (revision, models), rollout, replicas, steps, paused in [*turns, ((OTHER, 2), ROLLING, 3, 60, False)]:
        story.replicas, story.rollout = replicas, rollout
        story.want(SPEC["models"][:models], paused=paused)
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


def test_verified_first_servers_are_as_many_as_the_job_waits_for() -> None:
    story = Fleet()
    story.begin(4, {**ROLLING, "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}})
    story.want()
    story.until_numbers(lambda _, new: new > 0, moves=False)
    assert story.numbers() == (4, 2)
    (manifest,) = created(story.last, "Job")
    arguments = manifest["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[arguments.index("--replicas") + 1] == "2"
