"""The planner through whole life cycles, one pass at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ensemble_operator.plan.actions import Apply, Create, Event, Scale
from ensemble_operator.plan.planner import plan
from ensembles_api.contract import Result
from tests.unit.plan.story import Story
from tests.unit.plan.world import (
    CONFIG,
    REVISION,
    SPEC,
    condition,
    created,
    deleted,
    observation,
    of_type,
    published,
)

OTHER = "4" * 64


def test_first_pass_asks_for_the_request_and_one_assemble_job() -> None:
    result = plan(observation(), CONFIG)
    assert [m["metadata"]["labels"]["ensembles.dev/role"] for m in created(result, "Job")] == ["assemble"]
    assert len(created(result, "ConfigMap")) == 1
    assert condition(result, "Ready")["reason"] == "Assembling"  # type: ignore[index]
    assert condition(result, "Reconciling") is not None
    assert condition(result, "Stalled") is None


def test_from_apply_to_ready_and_then_nothing_more() -> None:
    story = Story()
    story.until_ready()
    assert story.reason == "Ready"
    assert story.last.actions == ()
    assert story.last.events == ()
    assert story.last.status is not None
    assert story.last.status["revision"] == REVISION
    assert story.last.status["url"] == "http://net.demo.svc:8000"
    assert condition(story.last, "Reconciling") is None
    assert story.seen.jobs == () or {j.labels["ensembles.dev/role"] for j in story.seen.jobs} == {"verify"}


def test_nothing_serves_before_it_is_verified() -> None:
    story = Story()
    story.until_published()
    story.step()
    story.servers_ready()
    for _ in range(5):
        story.step()
        assert not [s for s in story.seen.services if s.name == "net"]
    assert story.reason == "Verifying"


def test_verified_but_not_ready_servers_do_not_serve() -> None:
    story = Story()
    story.until_published()
    story.step()
    story.end("verify", result=Result())
    story.step()
    assert not [s for s in story.seen.services if s.name == "net"]


def test_a_second_revision_switches_with_an_overlap_and_the_old_one_drains_later() -> None:
    story = Story()
    first = story.bring_up_second(OTHER)
    story.servers_ready()
    assert story.active == first
    story.end("verify", result=Result())
    story.step()
    selector = story.selector
    assert "ensembles.dev/rollout" not in selector
    story.step(1)
    assert "ensembles.dev/rollout" not in story.selector
    story.step(4)
    second = story.selector["ensembles.dev/rollout"]
    assert second != first
    story.step()
    assert story.reason == "Ready"
    assert {d.labels["ensembles.dev/rollout"] for d in story.seen.deployments} == {first, second}
    story.step(120)
    assert {d.labels["ensembles.dev/rollout"] for d in story.seen.deployments} == {second}


@pytest.mark.parametrize("retained", [True, False])
def test_coming_back_to_a_known_spec_builds_nothing(*, retained: bool) -> None:
    story = Story()
    rollout = {"retainSeconds": 3600 if retained else 0, "watchSeconds": 0}
    story.change(rollout=rollout)
    story.until_ready()
    story.change(rollout=rollout, models=SPEC["models"][:2])
    story.until_ready(OTHER)
    story.change(rollout=rollout)
    story.step()
    roles = {m["metadata"]["labels"]["ensembles.dev/role"] for m in created(story.last, "Job")}
    assert roles == (set() if retained else {"verify"})
    if not retained:
        story.step()
        story.end("verify", result=Result())
    for _ in range(6):
        story.servers_ready()
        story.step(2)
    assert story.reason == "Ready"
    assert story.last.status is not None
    assert story.last.status["revision"] == REVISION


def test_other_inputs_with_the_same_revision_are_assembled_once_and_restart_nothing() -> None:
    story = Story()
    story.until_ready()
    first = story.active
    story.seen = replace(story.seen, annotations={"ensembles.dev/requestedAt": "now"})
    assembled = 0
    for _ in range(6):
        story.step()
        assert created(story.last, "Deployment") == []
        if [j for j in story.jobs("assemble") if j.state == "active"]:
            assembled += 1
            story.end("assemble", result=published())
    assert assembled == 1
    assert story.reason == "Ready"
    assert story.active == first
    story.seen = replace(story.seen, annotations={})
    story.step()
    assert created(story.last, "Job") == []
    assert story.reason == "Ready"


def test_replicas_go_through_scale_and_need_no_rollout() -> None:
    story = Story()
    story.until_ready()
    story.change(serving={"replicas": 3})
    story.step()
    assert [(a.replicas) for a in of_type(story.last, Scale)] == [3]
    assert created(story.last, "Deployment") == []
    assert [m["kind"] for m in created(story.last, "PodDisruptionBudget")] == ["PodDisruptionBudget"]
    story.servers_ready()
    story.step()
    assert story.reason == "Ready"
    story.change(serving={"replicas": 1})
    story.step()
    assert ("PodDisruptionBudget", story.seen.deployments[0].name) in deleted(story.last)


def test_children_deleted_or_edited_by_hand_are_put_back() -> None:
    story = Story()
    story.until_ready()
    kept = story.seen
    story.seen = replace(kept, deployments=(), endpoints_ready=False)
    story.step()
    assert [m["kind"] for m in created(story.last, "Deployment")] == ["Deployment"]
    service = next(s for s in kept.services if s.name == "net")
    manifest = {**service.manifest, "spec": {**service.manifest["spec"], "selector": {"app": "mine"}}}
    story.seen = replace(kept, services=tuple(
        replace(s, manifest=manifest) if s.name == "net" else s for s in kept.services
    ))  # fmt: skip
    story.step()
    assert [a.manifest["kind"] for a in of_type(story.last, Apply)] == ["Service"]
    story.seen = replace(kept, services=tuple(s for s in kept.services if s.name != "net"))
    story.step()
    assert "net" in [m["metadata"]["name"] for m in created(story.last, "Service")]


def test_a_record_deleted_by_hand_is_made_again_while_its_servers_serve_on() -> None:
    story = Story()
    story.until_ready()
    first = story.active
    service = story.service
    story.seen = replace(story.seen, rollouts=())
    for _ in range(12):
        story.step()
        assert "Deployment" not in {kind for kind, _ in deleted(story.last)}
        assert created(story.last, "Deployment") == []
        story.cluster_moves(REVISION)
    assert story.reason == "Ready"
    assert story.active == first
    assert len(story.seen.rollouts) == 1
    assert story.service.manifest == service.manifest


def test_suspend_changes_nothing() -> None:
    story = Story(spec=None)
    story.change(suspend=True)
    story.step()
    assert story.last.actions == ()
    assert story.reason == "Suspended"
    assert condition(story.last, "Stalled") is None
    assert condition(story.last, "Reconciling") is None


def test_a_foreign_service_is_never_touched() -> None:
    story = Story()
    story.until_ready()
    service = story.service
    foreign = replace(service, owners=("other",), labels={}, annotations={})
    story = Story(services=(foreign,))
    story.until_published()
    assert story.reason == "ObjectNotOwned"
    assert not [
        a for a in story.last.actions if isinstance(a, Create | Apply) and a.manifest["kind"] == "Service"
    ]


def test_events_come_with_transitions_only() -> None:
    story = Story()
    seen: list[Event] = []
    for _ in range(4):
        seen += story.step().events
    assert [event.reason for event in seen] == ["Assembling"]


def test_plans_are_pure() -> None:
    story = Story()
    story.until_published()
    assert plan(story.seen, CONFIG) == plan(story.seen, CONFIG)


def test_labels_and_annotations_of_the_resource_change_nothing() -> None:
    story = Story()
    story.until_ready()
    story.seen = replace(story.seen, annotations={"team": "vision"})
    story.step()
    assert story.last.actions == ()


def test_ready_means_that_a_server_answers() -> None:
    story = Story()
    story.until_ready()
    story.seen = replace(story.seen, endpoints_ready=False)
    story.step()
    assert story.reason == "NoReadyEndpoints"
    assert condition(story.last, "Reconciling") is not None
    assert condition(story.last, "Stalled") is None
    story.seen = replace(story.seen, endpoints_ready=True)
    story.step()
    assert story.reason == "Ready"


def test_ready_does_not_flap_when_the_first_servers_are_promoted() -> None:
    story = Story()
    story.until_published()
    story.step()
    story.servers_ready()
    story.end("verify", result=Result())
    seen = []
    for _ in range(12):
        story.step(0.5)
        story.servers_ready()
        seen.append(str(condition(story.last, "Ready")["status"]))  # type: ignore[index]
    assert seen == sorted(seen)
    assert seen[-1] == "True"
