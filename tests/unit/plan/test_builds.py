"""Build Jobs: ordered, shared with other ensembles, and what counts as built."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ensembles_api.contract import Result
from tests.unit.plan.story import Story
from tests.unit.plan.world import SPEC, created


def test_the_builds_ask_for_the_lock_and_the_next_round_for_what_was_built() -> None:
    story = Story()
    story.until_building()
    assert story.reason == "Building"
    build = created(story.last, "Job")[0]
    assert "fetch" in str(build)
    story.end("build", result=Result())
    story.step()
    again = created(story.last, "Job")[0]
    arguments = again["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--lock" in arguments
    assert "--built" in arguments


def test_a_shared_build_job_is_joined_not_repeated() -> None:
    story = Story()
    story.until_building()
    job = story.jobs("build")[0]
    story.set_job(job, owners=("somebody-else",))
    story.step()
    assert created(story.last, "Job") == []
    assert any(type(action).__name__ == "AddOwner" for action in story.last.actions)


def test_a_build_into_another_storage_is_not_waited_for() -> None:
    def building(**storage: str) -> Story:
        story = Story()
        story.change(storage={**SPEC["storage"], **storage})
        story.until_building()
        return story

    theirs = building(uri="s3://models/other").jobs("build")[0]
    ours = building()
    assert ours.jobs("build")[0].name != theirs.name
    rest = tuple(ours.jobs("assemble"))
    ours.seen = replace(ours.seen, jobs=(*rest, replace(theirs, owners=("somebody-else",))))
    ours.step()
    assert len(created(ours.last, "Job")) == 1
    assert not any(type(action).__name__ == "AddOwner" for action in ours.last.actions)
    assert building(secretName="others").jobs("build")[0].name == ours.jobs("build")[-1].name


def test_an_old_build_job_is_no_proof_that_the_artifact_is_there() -> None:
    story = Story()
    story.until_building()
    story.end("build", result=Result())
    (job,) = story.jobs("build")
    story.set_job(job, finished_at=story.seen.now - timedelta(hours=1))
    story.step()
    assert [m["metadata"]["annotations"]["ensembles.dev/attempt"] for m in created(story.last, "Job")] == [
        "2"
    ]
