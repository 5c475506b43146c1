"""Where an autoscaler owns the number of servers, the operator leaves it alone and hands it on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble_operator.plan.actions import Annotate, Apply, Delete
from ensemble_operator.plan.observation import ContainerSeen, DeploymentSeen
from ensembles_api.contract import Result
from ensembles_api.reasons import Reason
from tests.unit.plan.story import Story
from tests.unit.plan.world import REVISION, condition, deleted, fault, of_type

CPU = {"maxReplicas": 8, "target": {"cpuUtilizationPercent": 70}}
KEDA = {
    "minReplicas": 2,
    "maxReplicas": 8,
    "target": {"pendingRequests": 4},
    "keda": {"serverAddress": "http://prometheus:9090"},
}


def scaled(**settings: Any) -> Story:
    """An ensemble that serves, under an autoscaler."""
    story = Story()
    story.change(autoscaling=CPU, **settings)
    story.until_ready()
    return story


def moved(story: Story, count: int, *, rollout: str | None = None) -> None:
    """The autoscaler sets the number of the Deployments, of one rollout or of all."""
    story.seen = replace(
        story.seen,
        deployments=tuple(
            replace(d, replicas=count) if rollout in {None, d.labels["ensembles.dev/rollout"]} else d
            for d in story.seen.deployments
        ),
    )
    story.servers_ready()


def servers(story: Story) -> dict[str, int]:
    return {d.labels["ensembles.dev/rollout"]: d.replicas for d in story.seen.deployments}


def aims(story: Story) -> list[str]:
    return [a.manifest["spec"]["scaleTargetRef"]["name"] for a in story.seen.autoscalers]


def deployment(story: Story, rollout: str | None) -> DeploymentSeen:
    return next(d for d in story.seen.deployments if d.labels["ensembles.dev/rollout"] == rollout)


def test_what_an_autoscaler_has_set_stays() -> None:
    story = scaled()
    assert (story.reason, servers(story)) == ("Ready", {story.active: 1})
    assert aims(story) == [deployment(story, story.active).name]
    moved(story, 5)
    story.step()
    assert (story.last.actions, story.reason) == ((), "Ready")
    assert servers(story) == {story.active: 5}


def test_the_next_rollout_starts_with_as_many_and_the_autoscaler_follows_it() -> None:
    story = scaled()
    first = story.active
    moved(story, 5)
    story.change(autoscaling=CPU, serving={"extraArgs": ["--log-verbose=1"]})
    story.step()
    (new,) = [d for d in story.seen.deployments if d.labels["ensembles.dev/rollout"] != first]
    assert new.replicas == 5
    assert aims(story) == [deployment(story, first).name]
    moved(story, 6, rollout=first)
    story.step()
    assert servers(story) == {first: 6, new.labels["ensembles.dev/rollout"]: 6}
    story.verify_and_promote()
    assert (story.reason, aims(story)) == ("Ready", [new.name])
    assert [a.reason for a in story.last.events] == []


def test_it_moves_back_with_the_spec() -> None:
    story = scaled()
    first = story.active
    story.change(autoscaling=CPU, serving={"extraArgs": ["--log-verbose=1"]})
    story.verify_and_promote()
    assert story.active != first
    moved(story, 4)
    story.change(autoscaling=CPU)
    for _ in range(8):
        story.step(2)
        story.servers_ready()
    assert story.active == first
    assert aims(story) == [deployment(story, first).name]
    assert servers(story)[str(first)] == 4


@pytest.mark.parametrize("edit", ["gone", "edited"])
def test_an_autoscaler_deleted_or_edited_by_hand_is_put_back(edit: str) -> None:
    story = scaled()
    (before,) = story.seen.autoscalers
    other = replace(
        before, manifest={**before.manifest, "spec": {**before.manifest["spec"], "maxReplicas": 99}}
    )
    story.seen = replace(story.seen, autoscalers=() if edit == "gone" else (other,))
    story.step()
    assert [a.manifest["kind"] for a in of_type(story.last, Apply)] == ["HorizontalPodAutoscaler"]
    assert story.seen.autoscalers[0].manifest["spec"] == before.manifest["spec"]
    story.step()
    assert story.last.actions == ()


def test_without_autoscaling_the_number_is_the_specs_again() -> None:
    story = scaled()
    moved(story, 5)
    story.change(serving={"replicas": 2})
    story.step()
    assert [type(action) for action in story.last.actions[:1]] == [Delete]  # before the number is ours
    assert (story.seen.autoscalers, servers(story)) == ((), {story.active: 2})


def test_replicas_0_ends_all_servers_and_1_gives_them_back_to_the_autoscaler() -> None:
    story = scaled()
    moved(story, 5)
    story.change(autoscaling=CPU, serving={"replicas": 0})
    story.step()
    assert (story.seen.autoscalers, servers(story)) == ((), {story.active: 0})
    story.change(autoscaling=CPU)
    story.step()
    assert (len(story.seen.autoscalers), servers(story)) == (1, {story.active: 1})


def test_a_failed_rollout_leaves_the_autoscaler_where_it_is() -> None:
    story = scaled()
    first = story.active
    moved(story, 3)
    story.change(autoscaling=CPU, serving={"extraArgs": ["--log-verbose=1"]})
    story.step()
    story.servers_ready()
    fault = {"code": "VerificationFailed", "field": "", "message": "wrong"}
    story.end("verify", state="failed", result=Result.model_validate({"fault": fault}))
    story.step()
    story.step()
    assert condition(story.last, "Stalled") is not None
    assert aims(story) == [deployment(story, first).name]
    assert servers(story)[str(first)] == 3


def test_a_budget_stands_where_there_is_always_more_than_one() -> None:
    story = scaled()
    moved(story, 5)
    story.step()
    assert story.seen.budgets == ()
    story.change(autoscaling={**CPU, "minReplicas": 2})
    story.step()
    assert len(story.seen.budgets) == 1


def test_without_keda_it_serves_and_says_so() -> None:
    story = Story()
    story.seen = replace(story.seen, missing_kinds=frozenset({"ScaledObject"}))
    story.change(autoscaling=KEDA)
    story.until_ready()
    assert story.reason == "KEDAMissing"
    assert condition(story.last, "Available")["status"] == "True"  # type: ignore[index]
    assert condition(story.last, "Stalled") is None
    assert servers(story) == {story.active: 2}
    story.step(600)
    assert condition(story.last, "Stalled")["reason"] == "KEDAMissing"  # type: ignore[index]
    story.seen = replace(story.seen, missing_kinds=frozenset())
    story.step()
    story.step()
    assert story.reason == "Ready"
    assert [a.manifest["kind"] for a in story.seen.autoscalers] == ["ScaledObject"]


def test_keda_takes_over_from_a_horizontal_pod_autoscaler() -> None:
    story = scaled()
    story.change(autoscaling=KEDA)
    story.step()
    assert [a.kind for a in of_type(story.last, Delete)] == ["HorizontalPodAutoscaler"]
    assert [a.manifest["kind"] for a in story.seen.autoscalers] == ["ScaledObject"]


def test_rolling_updates_move_the_numbers_themselves_and_end_with_as_many() -> None:
    story = scaled(rollout={"strategy": "RollingUpdate"})
    first = story.active
    moved(story, 3)
    change = {"extraArgs": ["--log-verbose=1"]}
    story.change(autoscaling=CPU, rollout={"strategy": "RollingUpdate"}, serving=change)
    story.step()
    noted = [r.annotations.get("ensembles.dev/serversBefore", "") for r in story.seen.rollouts]
    assert [note.split()[1:] for note in noted if note] == [["default=3"]]
    story.step()
    assert story.seen.autoscalers == ()
    story.verify_and_promote()
    for _ in range(20):
        story.step(4)
        story.servers_ready()
    assert story.active != first
    assert (servers(story)[str(story.active)], len(story.seen.autoscalers)) == (3, 1)


@pytest.mark.parametrize("strategy", ["RollingUpdate", "Recreate"])
def test_autoscaling_that_is_switched_on_in_the_middle_ends_with_as_many_as_there_were(strategy: str) -> None:
    rollout = {"strategy": strategy, "retainSeconds": 0, "watchSeconds": 0}
    change = {"extraArgs": ["--log-verbose=1"]}
    story = Story()
    story.change(serving={"replicas": 6}, rollout=rollout)
    story.until_ready()
    first = str(story.active)
    story.change(serving={"replicas": 6, **change}, rollout=rollout)
    for _ in range(60):
        story.step(2)
        if servers(story)[first] <= 2:
            break
        story.cluster_moves(REVISION)
    assert servers(story)[first] <= 2
    story.change(autoscaling=CPU, serving=change, rollout=rollout)
    for _ in range(60):
        story.step(2)
        story.cluster_moves(REVISION)
        assert sum(servers(story).values()) <= 7
    assert story.reason == "Ready"
    assert servers(story) == {story.active: 6}
    assert len(aims(story)) == 1


def test_an_ensemble_without_a_note_gets_one_when_an_old_rollout_comes_back() -> None:
    story = scaled()
    first = story.active
    story.change(autoscaling=CPU, serving={"extraArgs": ["--log-verbose=1"]})
    story.verify_and_promote()
    moved(story, 6)
    story.change(autoscaling=CPU)
    story.step()
    notes = [a for a in of_type(story.last, Annotate) if "ensembles.dev/serversBefore" in a.annotations]
    assert [note.name.rpartition("-")[2] for note in notes] == [first]


def test_with_the_resource_its_autoscaler_goes() -> None:
    story = scaled(deletionPolicy="Delete")
    story.seen = replace(story.seen, deleting_since=story.seen.now)
    story.step()
    assert "HorizontalPodAutoscaler" in {kind for kind, _ in deleted(story.last)}


@settings(max_examples=20, deadline=None)
@given(kills=st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=15, max_size=25))
@pytest.mark.parametrize("strategy", ["BlueGreen", "RollingUpdate", "Recreate"])
def test_killed_anywhere_as_many_servers_take_over(strategy: str, kills: list[int | None]) -> None:
    story = scaled(rollout={"strategy": strategy, "retainSeconds": 0, "watchSeconds": 0})
    first = story.active
    moved(story, 4)
    changed = {"serving": {"extraArgs": ["--log-verbose=1"]}}
    story.change(
        autoscaling=CPU, rollout={"strategy": strategy, "retainSeconds": 0, "watchSeconds": 0}, **changed
    )
    for kill in [*kills, *[None] * 30]:
        story.step(4, killed_after=kill)
        story.cluster_moves(REVISION)
    assert (story.reason, story.active == first) == ("Ready", False)
    assert servers(story) == {story.active: 4}
    assert aims(story) == [deployment(story, story.active).name]


def test_status_tells_what_the_autoscaler_wants_and_why_it_cannot() -> None:
    story = scaled()
    (seen,) = story.seen.autoscalers
    refused = {"type": "ScalingActive", "status": "False", "reason": "FailedGet", "message": "no metrics"}
    status = {"desiredReplicas": 4, "conditions": [refused]}
    story.seen = replace(
        story.seen, autoscalers=(replace(seen, manifest={**seen.manifest, "status": status}),)
    )
    story.step()
    assert story.last.status is not None
    (target,) = story.last.status["targets"]
    assert (target["desiredReplicas"], target["autoscaler"]) == (4, "FailedGet: no metrics")
    assert story.last.status["scale"]["selector"].startswith("ensembles.dev/ensemble=net,")


def test_what_a_failed_rollout_noted_is_forgotten_once_the_autoscaler_has_gone_on() -> None:
    rollout = {"strategy": "RollingUpdate", "retainSeconds": 0, "watchSeconds": 0}
    story = scaled(rollout=rollout)
    first = story.active
    moved(story, 8)
    story.change(autoscaling=CPU, rollout=rollout, serving={"extraArgs": ["--log-verbose=1"]})
    for _ in range(3):
        story.step()
    story.end("verify", "failed", result=fault(Reason.VERIFICATION_FAILED))
    for _ in range(5):
        story.step()
        story.servers_ready(first)
    assert (story.active, len(story.seen.autoscalers)) == (first, 1)
    moved(story, 2, rollout=first)
    story.step()
    story.change(autoscaling=CPU, rollout=rollout, serving={"extraArgs": ["--log-verbose=2"]})
    for _ in range(40):
        story.step(2)
        assert max(servers(story).values()) <= 2
        story.cluster_moves(REVISION)
    assert story.reason == "Ready"
    assert servers(story) == {story.active: 2}


def test_a_pause_leaves_the_autoscaler_where_it_is() -> None:
    rollout = {"strategy": "RollingUpdate", "retainSeconds": 0, "watchSeconds": 0}
    story = scaled(rollout=rollout)
    story.change(autoscaling=CPU, rollout=rollout, serving={"extraArgs": ["--log-verbose=1"]})
    for _ in range(30):
        story.step(4)
        story.cluster_moves(REVISION)
    assert story.reason == "Ready"
    story.change(autoscaling=CPU, rollout={**rollout, "paused": True})
    for _ in range(3):
        story.step()
    assert story.reason == "Paused"
    assert aims(story) == [deployment(story, story.active).name]


@pytest.mark.parametrize("why", ["fails", "reverted"])
def test_a_rolling_update_that_goes_back_brings_all_servers_back_before_the_autoscaler(why: str) -> None:
    rollout = {"strategy": "RollingUpdate", "retainSeconds": 0, "watchSeconds": 0}
    story = scaled(rollout=rollout)
    first = str(story.active)
    moved(story, 6)
    story.change(autoscaling=CPU, rollout=rollout, serving={"extraArgs": ["--log-verbose=1"]})
    while servers(story)[first] > 2:
        story.step(2)
        story.cluster_moves(REVISION)
    if why == "reverted":
        story.change(autoscaling=CPU, rollout=rollout)
    else:
        (new,) = [d for d in story.seen.deployments if d.labels["ensembles.dev/rollout"] != first]
        ended = ContainerSeen(name="tritonserver", exit_code=1, restarts=3)
        pod = replace(new.pods[-1], ready=False, ready_since=None, containers=(ended,))
        broken = replace(new, pods=(*new.pods[:-1], pod), ready_replicas=new.ready_replicas - 1)
        others = tuple(d for d in story.seen.deployments if d.name != new.name)
        story.seen = replace(story.seen, deployments=(*others, broken))
    for _ in range(40):
        story.step(2)
        ready = sum(d.ready_replicas for d in story.seen.deployments)
        assert ready >= 4
        if story.selector.get("ensembles.dev/rollout"):
            assert deployment(story, first).ready_replicas >= 5
        story.servers_ready(first)
    assert servers(story)[first] == 6
    assert aims(story) == [deployment(story, first).name]
