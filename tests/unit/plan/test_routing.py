"""The routes of spec.gateway: where they lead, what becomes of them, and what Gateways say of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ensemble_operator.plan.actions import Apply, Create, Delete
from ensemble_operator.plan.observation import RoutesSeen
from ensemble_operator.plan.routing import KEPT, Routing, in_effect, route
from ensembles_api.spec import Gateway
from tests.unit.plan.story import Story
from tests.unit.plan.world import REVISION, condition

GATEWAY: dict[str, Any] = {"parentRefs": [{"name": "public"}], "hostnames": ["models.test"]}
OTHER = "4" * 64


def serving(**changes: Any) -> Story:
    story = Story()
    story.change(gateway=GATEWAY, **changes)
    for _ in range(25):
        story.step(2)
        story.cluster_moves(REVISION)
        story.gateway_says()
    return story


def backends(story: Story) -> dict[str, list[tuple[str, int, int]]]:
    return {
        seen.manifest["kind"]: [
            (ref["name"], ref["port"], ref["weight"])
            for ref in seen.manifest["spec"]["rules"][0]["backendRefs"]
        ]
        for seen in story.seen.routes.found
    }


def test_both_routes_lead_to_the_service_once_something_serves() -> None:
    story = Story()
    story.change(gateway=GATEWAY)
    story.step()
    assert story.seen.routes.found == ()
    for _ in range(25):
        story.step(2)
        story.cluster_moves(REVISION)
    assert backends(story) == {"HTTPRoute": [("net", 8000, 1)], "GRPCRoute": [("net", 8001, 1)]}
    assert story.reason == "RouteNotAccepted"
    story.gateway_says()
    story.step()
    assert story.reason == "Ready"
    assert story.step(300).actions == ()


def test_without_a_gateway_there_are_no_routes() -> None:
    story = Story()
    story.until_ready()
    assert story.seen.routes.found == ()


def test_the_grpc_route_may_go_elsewhere() -> None:
    story = Story()
    grpc = {"parentRefs": [{"name": "public", "sectionName": "grpc"}], "hostnames": ["grpc.models.test"]}
    story.change(gateway={**GATEWAY, "grpc": grpc})
    for _ in range(25):
        story.step(2)
        story.cluster_moves(REVISION)
    specs = {seen.manifest["kind"]: seen.manifest["spec"] for seen in story.seen.routes.found}
    assert specs["HTTPRoute"]["hostnames"] == ["models.test"]
    assert specs["GRPCRoute"]["hostnames"] == ["grpc.models.test"]
    assert specs["GRPCRoute"]["parentRefs"] == [{"name": "public", "sectionName": "grpc"}]


def test_removing_the_gateway_removes_the_routes() -> None:
    story = serving()
    story.change()
    result = story.step()
    gone = {action.kind for action in result.actions if isinstance(action, Delete)}
    assert {"HTTPRoute", "GRPCRoute"} <= gone


def test_edited_and_deleted_routes_are_put_back() -> None:
    story = serving()
    http, grpc = sorted(story.seen.routes.found, key=lambda seen: seen.manifest["kind"], reverse=True)
    elsewhere = {**http.manifest, "spec": {**http.manifest["spec"], "rules": []}}
    story.seen = replace(story.seen, routes=RoutesSeen((replace(http, manifest=elsewhere),)))
    story.step()
    assert backends(story) == {"HTTPRoute": [("net", 8000, 1)], "GRPCRoute": [("net", 8001, 1)]}
    assert grpc.name == "net"


def test_an_added_hostname_is_taken_away() -> None:
    story = serving()
    http = story.seen.routes.found[0]
    added = {**http.manifest["spec"], "hostnames": ["models.test", "other.test"]}
    changed = replace(http, manifest={**http.manifest, "spec": added})
    story.seen = replace(story.seen, routes=RoutesSeen((changed, *story.seen.routes.found[1:])))
    assert any(isinstance(action, Apply) for action in story.step().actions)


def test_hostnames_that_the_spec_has_no_more_are_applied_as_none() -> None:
    story = serving()
    story.change(gateway={"parentRefs": GATEWAY["parentRefs"]})
    applied = [action.manifest for action in story.step().actions if isinstance(action, Apply)]
    specs = [manifest["spec"] for manifest in applied if manifest["kind"] == "HTTPRoute"]
    assert [spec["hostnames"] for spec in specs] == [[]], "left out, those of the creation would stay"


def test_a_strangers_route_is_left_alone_and_named() -> None:
    story = serving()
    ours = story.seen.routes.found[0]
    stranger = replace(ours, owners=("somebody",))
    story.seen = replace(story.seen, routes=RoutesSeen((stranger, *story.seen.routes.found[1:])))
    result = story.step()
    assert story.reason == "ObjectNotOwned"
    assert not [a for a in result.actions if isinstance(a, Apply | Delete)]


def test_a_missing_api_is_told_and_stops_nothing() -> None:
    story = Story()
    story.seen = replace(story.seen, routes=RoutesSeen(missing="the cluster does not serve HTTPRoute"))
    story.change(gateway=GATEWAY)
    for _ in range(20):
        story.step(2)
        story.cluster_moves(REVISION)
    assert story.active is not None
    assert story.reason == "GatewayAPIMissing"
    available = condition(story.last, "Available")
    assert available is not None
    assert available["status"] == "True"
    assert condition(story.last, "Stalled") is None
    story.step(300)
    assert condition(story.last, "Stalled") is not None
    story.seen = replace(story.seen, routes=RoutesSeen())
    story.step()
    story.gateway_says()
    story.step()
    assert story.reason == "Ready"


def test_a_refusal_is_told_in_the_gateways_words() -> None:
    story = serving()
    story.gateway_says(accepted=False, message="no listener for models.test")
    story.step()
    assert story.reason == "RouteNotAccepted"
    ready = condition(story.last, "Ready")
    assert ready is not None
    assert "no listener for models.test" in ready["message"]
    assert "Gateway public" in ready["message"]


class Shared:
    """Two rollouts that the routes share the requests out to."""

    def __init__(self) -> None:
        story = serving()
        new = Story()
        new.until_ready(OTHER)
        other = replace(new.seen.rollouts[0], name="net-bbbbbbbb", number=2)
        old = story.seen.rollouts[0].name.rpartition("-")[2]
        self.old, self.new = old, "bbbbbbbb"
        labels = {**new.seen.deployments[0].labels, "ensembles.dev/rollout": self.new}
        servers = replace(new.seen.deployments[0], name="net-bbbbbbbb-default", labels=labels)
        story.seen = replace(
            story.seen,
            rollouts=(*story.seen.rollouts, other),
            deployments=(*story.seen.deployments, servers),
        )
        self.story = story

    def route(self, weights: dict[str, int] | None, seconds: float = 0) -> Routing:
        story = self.story
        story.seen = replace(story.seen, now=story.seen.now + timedelta(seconds=seconds))
        routing = route(story.seen, Gateway.model_validate(GATEWAY), weights)
        for action in (*routing.first, *routing.last):
            story._take(action)
        return routing

    def share(self, old: int, new: int) -> None:
        """Services first, then the routes."""
        for _ in range(2):
            self.route({self.old: old, self.new: new})


@pytest.fixture
def shared() -> Shared:
    return Shared()


def test_weights_go_to_services_of_the_rollouts(shared: Shared) -> None:
    weights = {shared.old: 75, shared.new: 25}
    begun = shared.route(weights)
    kinds = [action.manifest["kind"] for action in begun.last if isinstance(action, Create | Apply)]
    assert kinds == ["Service", "Service"], "proxies must know the servers before a route leads there"
    assert backends(shared.story)["HTTPRoute"] == [("net", 8000, 1)]
    routing = shared.route(weights, 1)
    kinds = [action.manifest["kind"] for action in routing.first if isinstance(action, Create | Apply)]
    assert kinds == ["HTTPRoute", "GRPCRoute"]
    expected = sorted([(f"net-{shared.old}-t", 75), (f"net-{shared.new}-t", 25)])
    for kind, port in (("HTTPRoute", 8000), ("GRPCRoute", 8001)):
        assert backends(shared.story)[kind] == [(name, port, weight) for name, weight in expected]
    assert routing.kept == {shared.old, shared.new}
    assert shared.route(weights, 1).first == ()
    assert shared.route(None, 1).last == (), "as they are"


def test_weights_count_from_when_the_gateway_has_taken_them(shared: Shared) -> None:
    weights = {shared.old: 75, shared.new: 25}
    shared.share(75, 25)
    shared.route(weights, 10)
    assert not in_effect(shared.story.seen, weights), "not accepted yet"
    shared.story.gateway_says()
    assert in_effect(shared.story.seen, weights)
    shared.route({shared.old: 50, shared.new: 50}, 10)
    assert not in_effect(shared.story.seen, {shared.old: 50, shared.new: 50}), "a moment ago"


def test_what_routes_led_to_stays_for_a_while(shared: Shared) -> None:
    shared.share(75, 25)
    back = shared.route({}, 60)
    assert back.first, "before servers end"
    assert {shared.old, shared.new} <= back.kept
    assert backends(shared.story)["HTTPRoute"] == [("net", 8000, 1)]
    assert shared.route({}, 1).last == ()
    later = shared.route({}, KEPT.total_seconds())
    names = {action.name for action in later.last if isinstance(action, Delete)}
    assert names == {f"net-{shared.old}-t", f"net-{shared.new}-t"}
    assert later.kept == frozenset()


def test_killed_between_two_routes_it_writes_both(shared: Shared) -> None:
    weights = {shared.old: 75, shared.new: 25}
    shared.route(weights)
    routing = route(shared.story.seen, Gateway.model_validate(GATEWAY), weights)
    for action in routing.first[:-1]:
        shared.story._take(action)
    shared.story.gateway_says()
    assert not in_effect(shared.story.seen, weights)
    shared.route(weights, 60)
    shared.story.gateway_says()
    shared.route(weights, 60)
    assert in_effect(shared.story.seen, weights)


def test_a_rollout_that_is_gone_gets_nothing(shared: Shared) -> None:
    shared.share(75, 25)
    shared.story.seen = replace(shared.story.seen, rollouts=shared.story.seen.rollouts[:1])
    shared.route(None, 1)
    assert backends(shared.story)["HTTPRoute"] == [("net", 8000, 1)]


def test_a_share_taken_back_while_only_one_route_was_written_stays_as_long(shared: Shared) -> None:
    shared.route({shared.old: 75, shared.new: 25})
    routing = route(
        replace(shared.story.seen, now=shared.story.seen.now + timedelta(seconds=1)),
        Gateway.model_validate(GATEWAY),
        {shared.old: 75, shared.new: 25},
    )
    shared.story._take(routing.first[0])
    back = shared.route({}, 2)
    assert back.first, "before servers end"
    assert backends(shared.story)["HTTPRoute"] == [("net", 8000, 1)]
    assert not [action for action in back.last if isinstance(action, Delete)]
    assert {shared.old, shared.new} <= shared.route({}, 1).kept
