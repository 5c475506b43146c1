"""spec.rollout.pinRevision: an older rollout serves again, and nothing is assembled, built or published."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ensemble_operator.plan.actions import Apply, LeaveJob
from ensembles_api.reasons import Reason
from tests.unit.plan.story import Story
from tests.unit.plan.test_changes import pruned_halfway
from tests.unit.plan.world import (
    REVISION,
    SPEC,
    T0,
    condition,
    created,
    deleted,
    fault,
    of_type,
)

OTHER = "4" * 64
TWO = SPEC["models"][:2]
RETAINED: dict[str, Any] = {"retainSeconds": 600}
AT_ONCE: dict[str, Any] = {"retainSeconds": 0, "watchSeconds": 0}


def second(**rollout: Any) -> Story:
    """Two revisions served, the second does now."""
    story = Story()
    story.change(rollout=rollout)
    story.until_ready()
    story.change(models=TWO, rollout=rollout)
    story.until_ready(OTHER)
    story.step(2)
    assert served(story) == OTHER
    return story


def served(story: Story) -> str:
    assert story.last.status is not None
    return str(story.last.status["revision"])


def pin(story: Story, revision: str, rollout: dict[str, Any], **changes: Any) -> None:
    story.change(**{"models": TWO, **changes, "rollout": {**rollout, "pinRevision": revision}})


def settle(story: Story, revision: str = REVISION) -> set[str]:
    """Kinds and roles of what was created meanwhile."""
    made: set[str] = set()
    for _ in range(12):
        story.step(2)
        made |= {
            m["kind"] for kind in ("Deployment", "ControllerRevision") for m in created(story.last, kind)
        }
        made |= {m["metadata"]["labels"]["ensembles.dev/role"] for m in created(story.last, "Job")}
        story.cluster_moves(revision)
    return made


def outcomes(story: Story) -> dict[str, str]:
    assert story.last.status is not None
    return {record["revision"]: record["outcome"] for record in story.last.status["history"]}


def test_while_the_servers_are_retained_only_the_service_moves() -> None:
    story = second(**RETAINED)
    pin(story, REVISION, RETAINED)
    story.step()
    (overlap,) = of_type(story.last, Apply)
    assert overlap.manifest["kind"] == "Service"
    assert overlap.manifest["metadata"]["annotations"]["ensembles.dev/next"]
    assert created(story.last, "Job") == []
    assert settle(story) == set()
    assert (story.reason, served(story)) == ("Ready", REVISION)
    assert outcomes(story) == {OTHER: "RolledBack", REVISION: "Promoted"}
    ready = condition(story.last, "Ready")
    assert ready is not None
    assert ready["message"] == f"revision {REVISION[:12]} serves, as spec.rollout.pinRevision says"


def test_servers_that_are_gone_come_again_and_are_verified_first() -> None:
    story = second(**AT_ONCE)
    story.step(10)
    assert len(story.seen.deployments) == 1
    pin(story, REVISION, AT_ONCE)
    story.step()
    assert {m["metadata"]["labels"]["ensembles.dev/role"] for m in created(story.last, "Job")} == {"verify"}
    assert len(created(story.last, "Deployment")) == 1
    assert of_type(story.last, Apply) == []
    assert served(story) == OTHER
    settle(story)
    assert (story.reason, served(story)) == ("Ready", REVISION)


def test_the_rest_of_the_spec_need_not_be_possible() -> None:
    story = second(**RETAINED)
    pin(story, REVISION, RETAINED, runtime={"release": "nope"}, models=SPEC["models"][1:2])
    settle(story)
    assert (story.reason, served(story)) == ("Ready", REVISION)
    assert story.jobs("assemble") == []


def test_replicas_hold_and_pod_settings_are_those_of_the_record() -> None:
    story = second(**AT_ONCE)
    story.step(10)
    pin(story, REVISION, AT_ONCE, serving={"replicas": 3, "podLabels": {"team": "b"}})
    settle(story)
    assert served(story) == REVISION
    (deployment,) = (d for d in story.seen.deployments if d.labels["ensembles.dev/rollout"] == story.active)
    assert deployment.replicas == 3
    assert "team" not in deployment.manifest["spec"]["template"]["metadata"]["labels"]


def test_without_the_pin_the_spec_decides_again() -> None:
    story = second(**RETAINED)
    pin(story, REVISION, RETAINED)
    settle(story)
    story.change(models=TWO, rollout=RETAINED)
    assert settle(story, OTHER) == set()
    assert (story.reason, served(story)) == ("Ready", OTHER)
    assert outcomes(story) == {OTHER: "Promoted", REVISION: "Superseded"}


def test_an_unknown_revision_is_refused_and_what_serves_goes_on() -> None:
    story = second(**RETAINED)
    pin(story, "9" * 64, RETAINED)
    settle(story)
    stalled = condition(story.last, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "RevisionUnknown"
    assert stalled["message"] == (
        f"spec.rollout.pinRevision: revision {'9' * 12} is not in the history; "
        f"choose one of {OTHER}, {REVISION}"
    )
    assert condition(story.last, "Available")["status"] == "True"  # type: ignore[index]
    assert served(story) == OTHER


def test_without_any_history_there_is_nothing_to_pin() -> None:
    story = Story()
    pin(story, REVISION, RETAINED)
    story.step()
    assert story.reason == "RevisionUnknown"
    assert created(story.last, "Job") == []


def test_a_revision_whose_files_are_being_removed_is_refused() -> None:
    story = pruned_halfway()
    pin(story, REVISION, AT_ONCE, revisionHistoryLimit=1)
    story.step()
    assert story.reason == "RevisionUnknown"
    assert "are being removed" in condition(story.last, "Stalled")["message"]  # type: ignore[index]


def test_the_pinned_revision_is_never_removed() -> None:
    story = second(**AT_ONCE)
    pin(story, REVISION, AT_ONCE, revisionHistoryLimit=1)
    settle(story)
    assert [rollout.data.revision for rollout in story.seen.rollouts] == [REVISION]


def test_a_pin_ends_builds_and_assembling() -> None:
    story = second(**RETAINED)
    story.change(models=SPEC["models"][:1], rollout=RETAINED)
    story.until_building()
    (build,) = story.jobs("build")
    pin(story, REVISION, RETAINED)
    story.step()
    assert [action.job for action in of_type(story.last, LeaveJob)] == [build.name]
    assert created(story.last, "Job") == []
    settle(story)
    assert (story.reason, served(story)) == ("Ready", REVISION)
    assert story.jobs("assemble") == story.jobs("build") == []


def test_a_pin_during_a_rollout_ends_the_rollout() -> None:
    story = second(**RETAINED)
    story.change(models=SPEC["models"][:1], rollout=RETAINED)
    story.until_published("5" * 64)
    story.step()
    (third,) = (r.name.rpartition("-")[2] for r in story.seen.rollouts if r.data.revision == "5" * 64)
    pin(story, REVISION, RETAINED)
    settle(story)
    assert (story.reason, served(story)) == ("Ready", REVISION)
    assert third not in {d.labels["ensembles.dev/rollout"] for d in story.seen.deployments}


def test_a_pin_during_the_switch_takes_it_back() -> None:
    story = second(**RETAINED)
    pin(story, REVISION, RETAINED)
    story.step()
    pin(story, OTHER, RETAINED)
    story.step()
    (back,) = of_type(story.last, Apply)
    assert "ensembles.dev/next" not in back.manifest["metadata"]["annotations"]
    settle(story)
    assert (story.reason, served(story)) == ("Ready", OTHER)


@pytest.mark.parametrize("retained", [True, False])
def test_a_pin_works_in_a_pause(*, retained: bool) -> None:
    rollout = {**(RETAINED if retained else AT_ONCE), "paused": True}
    story = second(**(RETAINED if retained else AT_ONCE))
    story.step(10)
    pin(story, REVISION, rollout)
    settle(story)
    assert (story.reason, served(story)) == ("Ready", REVISION)
    story.change(models=TWO, rollout=rollout)
    settle(story, OTHER)
    assert (story.reason, served(story)) == ("Paused", REVISION)


@pytest.mark.parametrize("strategy", ["Canary", "RollingUpdate"])
@pytest.mark.parametrize("wanted", [OTHER, REVISION])
def test_a_pin_takes_requests_back_in_a_pause(strategy: str, wanted: str) -> None:
    """While a third rollout shares the requests: back to what serves, or to what served before."""
    rollout: dict[str, Any] = {**RETAINED, "strategy": strategy}
    if strategy == "Canary":
        rollout["canary"] = {"steps": [{"weight": 50, "waitForApproval": True}]}
    story = second(**RETAINED)
    story.change(models=SPEC["models"][:1], rollout=rollout)
    for _ in range(20):
        story.step(2)
        story.cluster_moves("5" * 64)
        if story.reason == "Stepping":
            break
    story.change(models=SPEC["models"][:1], rollout={**rollout, "paused": True})
    settle(story, "5" * 64)
    assert story.reason == "Paused"
    pin(story, wanted, {**rollout, "paused": True}, models=SPEC["models"][:1])
    settle(story, wanted)
    settle(story, wanted)
    assert (story.reason, served(story)) == ("Ready", wanted)


def test_a_pause_holds_a_pinned_rollout_that_has_never_served() -> None:
    rollout = {**RETAINED, "strategy": "Canary", "canary": {"steps": [{"weight": 50, "pauseSeconds": 600}]}}
    story = second(**RETAINED)
    story.change(models=SPEC["models"][:1], rollout=rollout)
    for _ in range(20):
        story.step(2)
        story.cluster_moves("5" * 64)
    pin(story, "5" * 64, {**rollout, "paused": True}, models=SPEC["models"][:1])
    for _ in range(20):
        story.step(60)
        story.cluster_moves("5" * 64)
    assert (story.reason, served(story)) == ("Paused", OTHER)


def test_a_pinned_rollout_that_failed_says_so_and_is_not_tried_again() -> None:
    story = Story()
    story.change(rollout=RETAINED)
    story.until_ready()
    story.change(models=TWO, rollout=RETAINED)
    story.until_published(OTHER)
    story.step()
    story.end("verify", "failed", result=fault(Reason.VERIFICATION_FAILED, "logits hold NaN", ""))
    story.step()
    pin(story, OTHER, RETAINED)
    story.seen = replace(story.seen, annotations={"ensembles.dev/requestedAt": "now"})
    assert settle(story, OTHER) == set()
    stalled = condition(story.last, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "VerificationFailed"
    assert stalled["message"] == ("logits hold NaN; spec.rollout.pinRevision names it: pin another, or none")
    assert served(story) == REVISION


def test_of_several_rollouts_of_a_revision_the_one_that_served_last() -> None:
    story = Story()
    story.change(rollout=AT_ONCE)
    story.until_ready()
    story.change(rollout=AT_ONCE, serving={"podLabels": {"team": "b"}})
    settle(story)
    story.change(models=TWO, rollout=AT_ONCE)
    story.until_ready(OTHER)
    pin(story, REVISION, AT_ONCE)
    settle(story)
    (deployment,) = (d for d in story.seen.deployments if d.labels["ensembles.dev/rollout"] == story.active)
    assert deployment.manifest["spec"]["template"]["metadata"]["labels"]["team"] == "b"


@pytest.mark.parametrize("kill", range(4))
def test_killed_between_any_two_writes_a_pin_ends_the_same(kill: int) -> None:
    story = second(**RETAINED)
    pin(story, REVISION, RETAINED)
    for turn in range(20):
        story.step(2, killed_after=kill if turn % 2 else None)
        story.cluster_moves(REVISION)
    settle(story)
    assert (story.reason, served(story)) == ("Ready", REVISION)
    assert outcomes(story) == {OTHER: "RolledBack", REVISION: "Promoted"}
    assert story.last.actions == ()


def test_deleted_midway_nothing_is_put_back() -> None:
    story = second(**RETAINED)
    pin(story, REVISION, RETAINED)
    story.step()
    story.seen = replace(story.seen, deleting_since=T0)
    story.step()
    assert created(story.last, "Deployment") == created(story.last, "Job") == of_type(story.last, Apply) == []
    assert len(deleted(story.last)) > 0
