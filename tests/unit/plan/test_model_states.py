"""status.models: what is built, found, waited for, and how long it took."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from ensemble_operator.plan.observation import ContainerSeen, PodSeen
from ensembles_api.contract import FoundArtifact, NextBuild, Result
from ensembles_api.reasons import Reason
from tests.unit.plan.story import Story
from tests.unit.plan.world import KEY, LOCK, REVISION, SERVER, SPEC, T0, condition, fault

OTHER_KEY = "5" * 64
TWO = [
    {"name": "preprocess", "dali": {"source": {"inline": "pipe"}}},
    {"name": "again", "dali": {"source": {"inline": "other"}}},
]


def models(story: Story) -> dict[str, dict[str, Any]]:
    assert story.last.status is not None
    return {model.pop("name"): model for model in [dict(m) for m in story.last.status["models"]]}


def published(*found: FoundArtifact) -> Result:
    return Result(lock=LOCK, revision=REVISION, server=SERVER, found=found)


def artifact(key: str = KEY, model: str = "preprocess", seconds: float = 93.4) -> FoundArtifact:
    return FoundArtifact(key=key[:12], model=model, seconds=seconds)


def with_pod(story: Story, role: str, pod: PodSeen) -> None:
    for job in story.jobs(role):
        story.set_job(job, pods=(pod,))


def test_a_build_is_shown_from_its_begin_to_its_end() -> None:
    story = Story()
    story.until_building()
    assert models(story)["preprocess"] == {"kind": "dali", "state": "Pending", "key": KEY[:12]}
    story.step()
    begun = models(story)["preprocess"]
    assert begun["state"] == "Building"
    assert begun["since"].startswith("2026-01-01T12:0")
    assert models(story)["classifier"] == {"kind": "onnxruntime", "state": "Pending"}
    compiled = ContainerSeen(
        name="compile", init=True, exit_code=0, started_at=T0, finished_at=T0 + timedelta(seconds=41)
    )
    story.end("build", result=Result())
    (job,) = story.jobs("build")
    with_pod(story, "build", replace(job.pods[0], containers=(compiled, *job.pods[0].containers)))
    story.step()
    assert models(story)["preprocess"] == {"kind": "dali", "state": "Built", "key": KEY[:12], "seconds": 41}


def test_what_was_built_keeps_its_figures_when_its_jobs_are_gone() -> None:
    story = Story()
    story.until_building()
    story.step()
    story.end("build", result=Result())
    story.assemble(published(artifact()))
    story.step()
    built = {"kind": "dali", "state": "Built", "key": KEY[:12], "seconds": 93}
    assert models(story)["preprocess"] == built
    story.seen = replace(story.seen, jobs=(), status={})
    story.step()
    assert models(story)["preprocess"] == built
    assert models(story)["net"] == {"kind": "ensemble", "state": "Built"}


def test_what_was_found_is_cached_with_the_seconds_of_then() -> None:
    story = Story()
    story.assemble(published(artifact()))
    assert models(story)["preprocess"] == {
        "kind": "dali",
        "state": "Cached",
        "key": KEY[:12],
        "seconds": 93,
    }


def test_one_is_found_and_one_is_built() -> None:
    story = Story()
    story.change(models=TWO)
    order = NextBuild(kind="dali", key=OTHER_KEY, model="again")
    story.assemble(Result(lock=LOCK, next=(order,), found=(artifact(),)))
    story.step()
    assert {name: model["state"] for name, model in models(story).items()} == {
        "preprocess": "Cached",
        "again": "Building",
    }


def test_what_is_only_proven_is_no_build() -> None:
    """An engine that is in storage, with another verification; a pipeline, on two types of GPU."""
    story = Story()
    proofs = tuple(
        NextBuild(kind="dali", key=KEY, proof=proof * 64, model="preprocess", gpu=True) for proof in "67"
    )
    story.assemble(Result(lock=LOCK, next=proofs, found=(artifact(),)))
    story.step()
    assert models(story)["preprocess"]["state"] == "Building", "something is at work"
    assert condition(story.last, "Reconciling")["message"].endswith("; proving preprocess")  # type: ignore[index]
    for job in story.jobs("build"):
        story.set_job(job, state="succeeded", finished_at=story.seen.now)
    story.step()
    cached = {"kind": "dali", "state": "Cached", "key": KEY[:12], "seconds": 93}
    assert models(story)["preprocess"] == cached
    story.assemble(published(artifact()))
    story.step()
    assert models(story)["preprocess"] == cached


def test_a_build_that_waits_for_a_gpu_says_since_when() -> None:
    story = Story()
    story.until_building()
    pending = PodSeen(
        name="p",
        uid="p",
        labels={},
        phase="Pending",
        scheduled=False,
        unscheduled_reason="Unschedulable",
        unscheduled_message="0/1 nodes are available: 1 Insufficient nvidia.com/gpu",
        devices=("nvidia.com/gpu",),
        created=T0,
    )
    with_pod(story, "build", pending)
    story.step()
    assert story.reason == "WaitingForGPU"
    model = models(story)["preprocess"]
    assert (model["state"], model["since"]) == ("Waiting", "2026-01-01T12:00:00Z")


def test_a_build_that_failed_for_good_is_told_from_one_that_is_tried_again() -> None:
    for reason, state in ((Reason.INVALID_PIPELINE, "Failed"), (Reason.STORAGE_UNAVAILABLE, "Building")):
        story = Story()
        story.until_building()
        story.end("build", "failed", result=fault(reason))
        story.step()
        assert models(story)["preprocess"]["state"] == state


def test_of_several_artifacts_the_model_shows_the_worst_and_the_sum() -> None:
    story = Story()
    versions = [
        {"version": 1, "dali": {"source": {"inline": "pipe"}}},
        {"version": 2, "dali": {"source": {"inline": "pipe2"}}},
    ]
    story.change(models=[{"name": "preprocess", "versions": versions}, *SPEC["models"][1:]])
    story.assemble(published(artifact(seconds=5), artifact(OTHER_KEY, seconds=90)))
    assert models(story)["preprocess"] == {
        "kind": "versions",
        "state": "Cached",
        "key": OTHER_KEY[:12],
        "seconds": 95,
    }


def test_a_note_that_cannot_be_read_is_none() -> None:
    story = Story()
    story.assemble(published(artifact()))
    story.step()
    story.seen = replace(
        story.seen,
        jobs=(),
        status={},
        rollouts=tuple(
            replace(r, annotations={**r.annotations, "ensembles.dev/builds": "garbled"})
            for r in story.seen.rollouts
        ),
    )
    story.step()
    assert models(story)["preprocess"] == {"kind": "dali", "state": "Built"}
