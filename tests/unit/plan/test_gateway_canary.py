"""A canary under spec.gateway: the routes share the requests out, the Service stays with the old servers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble_operator.plan.actions import Apply, Scale
from ensemble_operator.plan.observation import RoutesSeen
from ensembles_api.contract import AnalysisFigures, Result, Traffic
from ensembles_api.reasons import Reason
from tests.unit.plan.fleet import CANARY, OTHER, THIRD, Fleet
from tests.unit.plan.world import REVISION, SPEC, condition, fault, missing_dali

GATEWAY: dict[str, Any] = {"parentRefs": [{"name": "public"}]}
ANALYSED = {**CANARY, "canary": {"steps": [{"weight": 25, "analyseSeconds": 60}]}}
SHORT = {**CANARY, "canary": {"steps": [{"weight": 10, "pauseSeconds": 5}, {"weight": 50}]}}
FIGURES = AnalysisFigures(new=Traffic(requests=50), old=Traffic(requests=500), seconds=60)


class Routed(Fleet):
    """A fleet behind a Gateway, which accepts what it sees unless it is deaf."""

    deaf = False
    judged: Result | None = Result(analysis=FIGURES)
    """What an analysis ends with; None: it runs on."""

    def to_first_step(self, replicas: int, rollout: dict[str, Any]) -> None:
        self.begin(replicas, rollout)
        self.want()
        share = rollout["canary"]["steps"][0]["weight"]
        self.until_shares(100 - share, share)

    def change(self, **changes: Any) -> None:
        super().change(**{"gateway": GATEWAY, **changes})

    def cluster_moves(self, revision: str) -> None:
        if self.jobs("analyse") and self.judged is None:
            return
        for job in self.jobs("analyse"):
            if job.state == "active" and self.judged is not None:
                self.end("analyse", "failed" if self.judged.fault else "succeeded", result=self.judged)
        super().cluster_moves(revision)
        if not self.deaf:
            self.gateway_says()

    def backends(self) -> dict[str, int]:
        """Of the HTTPRoute: Service -> weight."""
        http = next(seen for seen in self.seen.routes.found if seen.manifest["kind"] == "HTTPRoute")
        return {ref["name"]: ref["weight"] for ref in http.manifest["spec"]["rules"][0]["backendRefs"]}

    def shares(self) -> tuple[int, int]:
        """Weights of the first rollout, and of all others; (0, 0): all lead to the Service."""
        found = self.backends()
        old = found.get(f"net-{self.old}-t", 0)
        return old, sum(weight for name, weight in found.items() if name != "net") - old

    def until_shares(self, old: int, new: int) -> None:
        for _ in range(60):
            if self.shares() == (old, new):
                return
            self.play(OTHER, 1)
        raise AssertionError(f"{self.shares()}, {self.reason}: {condition(self.last, 'Ready')}")

    def answered(self) -> bool:
        """Whether every Service that a route leads to is there and has a ready server."""
        services = {service.name: service.manifest["spec"]["selector"] for service in self.seen.services}
        for seen in self.seen.routes.found:
            for ref in seen.manifest["spec"]["rules"][0]["backendRefs"]:
                rollout = services[ref["name"]].get("ensembles.dev/rollout")
                ready = [
                    d
                    for d in self.seen.deployments
                    if rollout in {None, self.of(d.labels)} and d.ready_replicas
                ]
                if not ready:
                    return False
        return True


def test_weights_move_and_the_service_stays_until_the_promotion() -> None:
    story = Routed()
    story.to_first_step(4, CANARY)
    assert story.numbers() == (4, 1)
    assert len(story.reached()) == 4, "the Service leads to the old ones alone"
    story.until_shares(50, 50)
    assert story.numbers() == (4, 2), "as many as the share needs"
    story.play(OTHER, 20)
    assert "waits for approval" in (condition(story.last, "Reconciling") or {})["message"]
    rollout = (story.last.status or {})["progress"]["rollout"]
    story.seen = replace(story.seen, annotations={"ensembles.dev/promote": rollout})
    story.play(OTHER, 70)
    assert story.reason == "Ready"
    assert story.shares() == (0, 0)
    assert story.numbers() == (0, 4)
    assert not [s.name for s in story.seen.services if s.name.endswith("-t")]
    assert story.step(300).actions == ()


def test_a_steps_time_counts_from_when_gateways_have_taken_the_share() -> None:
    story = Routed()
    story.to_first_step(4, CANARY)
    story.deaf = True
    story.gateway_says(accepted=False, message="not now")
    story.play(OTHER, 60)
    assert story.shares() == (75, 25)
    assert "since" not in (story.last.status or {})["progress"]
    assert story.reason == "RouteNotAccepted"
    story.deaf = False
    story.play(OTHER, 3)
    assert (story.last.status or {})["progress"]["since"]


def test_a_canary_that_is_judged_worse_gets_nothing_more_and_is_not_tried_again() -> None:
    story = Routed()
    story.judged = None
    story.begin(4, ANALYSED)
    story.want()
    for _ in range(60):
        story.play(OTHER, 1)
        if story.jobs("analyse"):
            break
    assert story.shares() == (75, 25), "measured under its share"
    story.judged = fault(Reason.ANALYSIS_FAILED, "5.0 points more", "spec.rollout.analysis.maxErrorPercent")
    story.cluster_moves(OTHER)
    actions = story.step(2).actions
    assert not [action for action in actions if isinstance(action, Scale)], "the routes first"
    assert {a.manifest["kind"] for a in actions if isinstance(a, Apply)} == {"HTTPRoute", "GRPCRoute"}
    assert story.shares() == (0, 0)
    story.play(OTHER, 30)
    assert story.numbers() == (4, 0)
    assert story.active == story.old
    stalled = condition(story.last, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "AnalysisFailed"
    assert "5.0 points more" in stalled["message"]
    assert len(story.jobs("analyse")) == 1
    assert not [s.name for s in story.seen.services if s.name.endswith("-t")]


def test_too_few_requests_hold_the_step_and_say_so() -> None:
    story = Routed()
    story.begin(4, ANALYSED)
    story.judged = fault(Reason.ANALYSIS_INCONCLUSIVE, "3 requests", "spec.rollout.analysis.minRequests")
    story.want()
    story.until("AnalysisInconclusive")
    story.play(OTHER, 60)
    assert condition(story.last, "Stalled") is None
    assert story.shares() == (75, 25)
    story.judged = Result(analysis=FIGURES)
    story.play(OTHER, 1, seconds=600)
    story.play(OTHER, 60)
    assert story.reason == "Ready"


def test_another_spec_in_the_middle_takes_the_share_back() -> None:
    story = Routed()
    story.to_first_step(4, CANARY)
    story.want(SPEC["models"])
    story.play(REVISION, 30)
    assert story.reason == "Ready"
    assert story.active == story.old
    assert story.shares() == (0, 0)
    assert not [s.name for s in story.seen.services if s.name.endswith("-t")]


def test_while_the_next_spec_is_built_the_share_is_taken_back() -> None:
    story = Routed()
    story.to_first_step(4, CANARY)
    story.want(SPEC["models"][:1])
    story.step(2)
    assert story.shares() == (75, 25)
    story.end("assemble", result=missing_dali())
    for _ in range(15):
        story.step(2)
        story.servers_ready()
        story.gateway_says()
        assert story.answered()
    assert (story.shares(), story.numbers(), story.reason) == ((0, 0), (4, 0), "Building")


def test_paused_keeps_the_shares() -> None:
    story = Routed()
    story.to_first_step(4, CANARY)
    story.want(paused=True)
    story.play(OTHER, 60)
    assert story.reason == "Paused"
    assert story.shares() == (75, 25)
    story.want(paused=False)
    story.until_shares(50, 50)


@settings(max_examples=20, deadline=None)
@given(kills=st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=10, max_size=50))
def test_killed_anywhere_every_route_leads_to_ready_servers(kills: list[int | None]) -> None:
    story = Routed()
    story.begin(3, SHORT)
    story.want()
    for kill in kills:
        story.step(2, killed_after=kill)
        assert story.answered()
        story.cluster_moves(OTHER)
    for _ in range(60):
        story.step(2)
        assert story.answered()
        story.cluster_moves(OTHER)
    story.step(300)
    assert story.step(300).actions == ()
    assert story.reason == "Ready"
    assert story.shares() == (0, 0)
    assert (story.last.status or {})["revision"] == OTHER


def test_without_a_gateway_no_route_is_touched() -> None:
    story = Fleet()
    story.begin(2, SHORT)
    story.want()
    story.play(OTHER, 40)
    assert story.reason == "Ready"
    assert story.seen.routes.found == ()


def ready(story: Routed, *, new: bool) -> None:
    """Whether the newest rollout's servers are ready, which the world decides."""
    story.servers_ready()
    if not new:
        story.seen = replace(
            story.seen,
            deployments=tuple(
                d
                if story.of(d.labels) == story.old
                else replace(
                    d,
                    ready_replicas=0,
                    pods=tuple(replace(pod, ready=False, ready_since=None) for pod in d.pods),
                )
                for d in story.seen.deployments
            ),
        )


def test_servers_stay_while_a_proxy_may_not_know_yet_that_their_share_was_taken_back() -> None:
    story = Routed()
    story.to_first_step(4, CANARY)
    story.crash()
    story.step(2)
    assert story.shares() == (0, 0)
    left = story.seen.now
    while (story.seen.now - left).total_seconds() < 14:
        assert story.numbers() == (4, 1)
        names = {service.name for service in story.seen.services}
        assert f"net-{story.old}-t" in names
        story.step(1)
        story.gateway_says()
    story.play(OTHER, 10)
    assert story.numbers() == (4, 0)
    assert condition(story.last, "Stalled")


def test_what_a_route_left_two_steps_ago_stays_as_long() -> None:
    story = Routed()
    story.begin(2, {**CANARY, "canary": {"steps": [{"weight": 50}]}})
    story.want()
    story.until_shares(0, 100)
    left = story.seen.now
    while (story.seen.now - left).total_seconds() < 14:
        assert f"net-{story.old}-t" in {service.name for service in story.seen.services}
        assert story.numbers()[0] == 2
        story.step(1)
        story.cluster_moves(OTHER)
    story.play(OTHER, 30)
    assert story.numbers() == (0, 2)


def test_a_share_without_a_ready_server_goes_to_those_that_have_some() -> None:
    story = Routed()
    story.to_first_step(4, CANARY)
    ready(story, new=False)
    story.step(1)
    assert story.shares() == (0, 0), "a route does not look for ready servers elsewhere"
    story.play(OTHER, 10)
    assert story.shares() == (75, 25)


def test_a_share_without_a_ready_server_while_paused() -> None:
    story = Routed()
    story.to_first_step(4, CANARY)
    story.play(OTHER, 5)
    story.want(paused=True)
    story.step(1)
    ready(story, new=False)
    story.step(1)
    assert story.shares() == (0, 0)
    story.play(OTHER, 10)
    assert story.shares() == (75, 25)


@pytest.mark.parametrize("what", ["one", "both", "edited"])
def test_a_route_that_is_deleted_or_edited_in_a_pause_has_its_share_again(what: str) -> None:
    story = Routed()
    story.to_first_step(4, CANARY)
    story.play(OTHER, 5)
    story.want(paused=True)
    story.play(OTHER, 2)
    assert (story.last.status or {})["progress"]["since"]
    found = story.seen.routes.found
    if what == "edited":  # as the user made it: without our notes, to the Service alone
        found = tuple(replace(seen, annotations={}, manifest={**seen.manifest, "spec": {}}) for seen in found)
    kept = {"one": found[:1], "both": (), "edited": found}[what]
    story.seen = replace(story.seen, routes=RoutesSeen(kept))
    story.play(OTHER, 3)
    assert (story.shares(), story.reason) == ((75, 25), "Paused")
    assert len(story.seen.routes.found) == 2


def test_a_switch_to_retained_servers_waits_until_no_proxy_asks_the_canary() -> None:
    story = Routed()
    story.begin(2, {"retainSeconds": 3600, "watchSeconds": 0})
    story.want()
    story.play(OTHER, 15)
    assert story.reason == "Ready"
    story.rollout = {**CANARY, "retainSeconds": 3600}
    story.want(SPEC["models"][:1])
    for _ in range(40):
        if story.shares()[1] == 100 and len(story.backends()) == 2:
            break
        story.play(THIRD, 1)
    newest = max(story.seen.rollouts, key=lambda r: r.number).name.rpartition("-")[2]
    story.want(SPEC["models"])
    story.step(1)
    assert story.shares() == (0, 0)
    left = story.seen.now
    while (story.seen.now - left).total_seconds() < 14:
        assert [d.replicas for d in story.seen.deployments if story.of(d.labels) == newest] == [1]
        story.step(1)
        story.cluster_moves(REVISION)
    story.play(REVISION, 20)
    assert story.reason == "Ready"
    assert story.active == story.old


def test_where_steps_change_servers_go_after_the_routes_have_left_them() -> None:
    story = Routed()
    story.begin(4, CANARY)
    story.want()
    story.until_shares(50, 50)
    assert story.numbers() == (4, 2)
    story.deaf = True
    story.want(canary={"steps": [{"weight": 10, "waitForApproval": True}]})
    story.play(OTHER, 10)
    assert (story.shares(), story.numbers()) == ((90, 10), (4, 2))
    story.deaf = False
    story.play(OTHER, 10)
    assert (story.shares(), story.numbers()) == ((90, 10), (4, 1))
    assert story.active == story.old


def test_a_canary_that_is_wanted_again_begins_anew_without_its_former_approval() -> None:
    story = Routed()
    story.to_first_step(4, CANARY)
    rollout = (story.last.status or {})["progress"]["rollout"]
    story.seen = replace(story.seen, annotations={"ensembles.dev/promote": f"{rollout}@1"})
    story.until_shares(50, 50)
    story.want(SPEC["models"])
    story.play(REVISION, 30)
    assert story.numbers() == (4, 0)
    story.want()
    story.until_shares(75, 25)
    assert (story.last.status or {})["progress"]["step"] == 1
    story.until_shares(50, 50)
    story.play(OTHER, 20)
    assert "waits for approval" in (condition(story.last, "Reconciling") or {})["message"]
    story.seen = replace(story.seen, annotations={"ensembles.dev/promote": f"{rollout}@2"})
    story.play(OTHER, 70)
    assert story.reason == "Ready"
