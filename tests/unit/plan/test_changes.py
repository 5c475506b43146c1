"""The spec changes while something is under way: what is still wanted goes on, what is not ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ensemble_operator.plan.actions import Delete, LeaveJob
from ensembles_api.contract import NextBuild, Result
from ensembles_api.reasons import Reason
from tests.unit.plan.story import Story
from tests.unit.plan.world import (
    LOCK,
    REVISION,
    SPEC,
    UID,
    condition,
    created,
    deleted,
    fault,
    missing_dali,
    of_type,
    published,
)

OTHER = "4" * 64
TWO = SPEC["models"][:2]
ONE_KEPT = {"revisionHistoryLimit": 1, "rollout": {"retainSeconds": 0, "watchSeconds": 0}}


def building() -> Story:
    """A story whose build runs, and whose spec changes then."""
    story = Story()
    story.until_building()
    story.change(models=TWO)
    story.step()
    return story


def roles(story: Story) -> list[str]:
    return [manifest["metadata"]["labels"]["ensembles.dev/role"] for manifest in created(story.last, "Job")]


def test_a_build_goes_on_until_it_is_known_whether_the_new_spec_needs_it() -> None:
    story = building()
    (build,) = story.jobs("build")
    assert ("Job", build.name) not in deleted(story.last)
    assert [job.state for job in story.jobs("assemble")] == ["active"], "the old chain's went, a new one came"
    story.step()
    assert story.jobs("build") == [build]


def warned(story: Story) -> list[str]:
    assert story.last.status is not None
    return list(story.last.status["warnings"])


def test_warnings_are_those_of_the_wanted_revision() -> None:
    story = Story()
    story.assemble(published().model_copy(update={"warnings": ("of the first",)}))
    story.verify_and_promote()
    assert (story.reason, warned(story)) == ("Ready", ["of the first"])
    story.change(models=TWO)
    story.assemble(published(OTHER).model_copy(update={"warnings": ("of the second",)}))
    story.verify_and_promote()
    assert (story.reason, warned(story)) == ("Ready", ["of the second"])
    story.change()
    story.step()
    assert warned(story) == ["of the first"]


def test_a_spec_that_cannot_be_resolved_takes_back_nothing_that_was_reached() -> None:
    story = Story()
    story.assemble(published().model_copy(update={"warnings": ("w",)}))
    story.verify_and_promote()
    verified = condition(story.last, "Verified")
    story.change(runtime={"release": "nope"})
    story.step()
    assert story.reason == "UnknownRelease"
    assert condition(story.last, "Verified") == verified
    assert warned(story) == ["w"]
    assert story.last.status is not None
    assert {model["state"] for model in story.last.status["models"]} == {"Built"}


def test_a_build_that_the_new_spec_needs_is_not_begun_again() -> None:
    story = building()
    story.end("assemble", result=missing_dali())
    story.step()
    assert created(story.last, "Job") == []
    assert len(story.jobs("build")) == 1


def test_a_build_that_ended_while_the_new_spec_was_read_counts() -> None:
    story = building()
    story.end("build", result=Result())
    story.until_building()
    assert roles(story) == ["assemble"]


@pytest.mark.parametrize("more", [0, 2])
def test_a_build_that_the_new_spec_does_not_name_ends_once_all_are_named(more: int) -> None:
    story = building()
    old = story.jobs("build")[0].name
    other = NextBuild(kind="dali", key="9" * 64, model="preprocess")
    story.end("assemble", result=Result(lock=LOCK, next=(other,), more=more))
    story.step()
    assert (old in [action.job for action in of_type(story.last, LeaveJob)]) == (more == 0)


def test_more_builds_than_a_message_names_are_not_too_many_rounds() -> None:
    story = Story()
    story.step()
    for left in range(11, -1, -1):
        key = f"{left:02x}" * 32
        order = NextBuild(kind="dali", key=key, model="preprocess")
        story.end("assemble", result=Result(lock=LOCK, next=(order,), more=left))
        story.step()
        story.end("build", result=Result())
        story.step()
        assert story.reason == "Assembling", left
    story.end("assemble", result=published())
    story.step()
    assert story.reason == "RollingOut"


def test_rounds_that_name_all_and_still_lack_some_end() -> None:
    story = Story()
    story.step()
    for number in range(8):
        order = NextBuild(kind="dali", key=f"{number:02x}" * 32, model="preprocess")
        story.end("assemble", result=Result(lock=LOCK, next=(order,)))
        story.step()
        story.end("build", result=Result())
        story.step()
    assert story.reason == "TooManyRounds"


def test_new_servers_survive_until_the_next_revision_is_known() -> None:
    story = Story()
    first = story.bring_up_second(OTHER)
    second = {d.labels["ensembles.dev/rollout"] for d in story.seen.deployments} - {first}
    story.seen = replace(story.seen, annotations={"ensembles.dev/requestedAt": "now"})
    for _ in range(3):
        story.step()
        assert {d.labels["ensembles.dev/rollout"] for d in story.seen.deployments} == {first, *second}
        assert [job.state for job in story.jobs("verify")].count("active") == 1
    story.end("assemble", result=published(OTHER))
    story.verify_and_promote()
    assert story.reason == "Ready"
    assert {story.active} == second


def test_new_servers_go_when_another_revision_is_wanted() -> None:
    story = Story()
    first = story.bring_up_second(OTHER)
    story.change(models=SPEC["models"][1:2])
    story.step()
    story.end("assemble", result=published("5" * 64))
    for _ in range(3):
        story.step()
    serving = {d.labels["ensembles.dev/rollout"] for d in story.seen.deployments}
    revisions = {r.data.revision for r in story.seen.rollouts if r.name.rpartition("-")[2] in serving}
    assert revisions == {REVISION, "5" * 64}
    assert story.active == first


def pruned_halfway() -> Story:
    """The first revision is over the limit, and a Job removes it."""
    story = Story()
    story.change(**ONE_KEPT)
    story.until_ready()
    story.change(**ONE_KEPT, models=TWO)
    story.until_ready(OTHER)
    assert [job.state for job in story.jobs("prune")] == ["active"]
    return story


def test_going_back_to_what_is_being_removed_waits_and_publishes_it_anew() -> None:
    story = pruned_halfway()
    story.change(**ONE_KEPT)
    for _ in range(3):
        story.step()
        assert roles(story) == []
        assert [job.state for job in story.jobs("prune")] == ["active"], "half a removal is left to its end"
    story.end("prune", result=Result())
    story.step()
    assert roles(story) == ["assemble"]
    story.end("assemble", result=published())
    story.step()
    story.verify_and_promote()
    assert story.reason == "Ready"
    assert story.last.status is not None
    assert story.last.status["revision"] == REVISION
    story.step()
    outcomes = {r.data.revision: r.annotations["ensembles.dev/outcome"] for r in story.seen.rollouts}
    assert outcomes[REVISION] == "Promoted"


def test_a_removal_that_cannot_begin_does_not_hold_up_a_new_spec() -> None:
    story = pruned_halfway()
    (job,) = story.jobs("prune")
    pod = replace(
        job.pods[0], phase="Pending", scheduled=False, unscheduled_reason="Unschedulable", containers=()
    )
    story.set_job(job, pods=(pod,))
    story.change(**ONE_KEPT)
    story.step()
    assert Delete("Job", job.name, job.uid) in story.last.actions
    story.step()
    assert roles(story) == ["assemble"]


def test_a_removal_that_fails_is_told_and_tried_again_while_it_serves() -> None:
    story = pruned_halfway()
    story.end("prune", "failed", result=fault(Reason.STORAGE_UNAVAILABLE, "no answer"))
    story.step()
    assert story.reason == "Ready"
    assert story.last.status is not None
    assert "no answer" in story.last.status["warnings"][0]
    assert story.last.wake is not None
    story.step((story.last.wake - story.seen.now).total_seconds() + 1)
    assert roles(story) == ["prune"]
    story.end("prune", result=Result())
    story.step()
    story.step()
    assert story.last.status["warnings"] == []


def test_a_lost_lock_is_made_anew() -> None:
    story = Story()
    story.until_building()
    for attempt in (2, 3):
        story.end("build", "failed", result=fault(Reason.LOCK_VANISHED))
        story.step(600)
        (again,) = created(story.last, "Job")
        arguments = again["spec"]["template"]["spec"]["containers"][0]["args"]
        assert "--lock" not in arguments
        assert again["metadata"]["annotations"]["ensembles.dev/attempt"] == str(attempt)
        story.until_building()
        assert roles(story) == ["build"]


def test_an_assembler_without_its_lock_pins_anew() -> None:
    story = Story()
    story.until_building()
    story.end("build", result=Result())
    story.step()
    story.end("assemble", "failed", result=fault(Reason.LOCK_VANISHED))
    story.step(600)
    (again,) = [job for job in story.jobs("assemble") if job.state == "active"]
    assert "ensembles.dev/lock" not in again.annotations


def test_a_shared_builds_fault_names_our_own_field() -> None:
    story = Story()
    story.change(models=[SPEC["models"][1], SPEC["models"][0]])
    story.until_building()
    (job,) = story.jobs("build")
    theirs = {**job.annotations, "ensembles.dev/lock": OTHER}
    story.set_job(job, owners=("somebody", UID), annotations=theirs)
    story.end("build", "failed", result=fault(Reason.INVALID_PIPELINE, field="spec.models[4].dali.source"))
    story.step()
    assert condition(story.last, "Stalled")["message"].startswith("spec.models[1].dali.source: ")  # type: ignore[index]
