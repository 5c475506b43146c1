"""The end of a resource and of its older revisions: storage first, and never for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ensemble_operator.plan.actions import SetFinalizer
from ensembles_api.contract import Result
from ensembles_api.names import FINALIZER
from ensembles_api.reasons import Reason
from tests.unit.plan.story import Story
from tests.unit.plan.world import SPEC, condition, created, fault, of_type

OTHER = "4" * 64


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_the_finalizer_stands_only_with_policy_delete(policy: str) -> None:
    story = Story()
    story.change(deletionPolicy=policy)
    story.step()
    assert [a.present for a in of_type(story.last, SetFinalizer)] == ([True] if policy == "Delete" else [])
    story.change(deletionPolicy="Retain")
    story.step()
    assert not story.seen.finalizers


def test_deletion_prunes_and_then_lets_go() -> None:
    story = Story()
    story.change(deletionPolicy="Delete")
    story.until_ready()
    story.seen = replace(story.seen, deleting_since=story.seen.now)
    story.step()
    assert not created(story.last, "Job")
    story.step()
    jobs = created(story.last, "Job")
    assert [j["metadata"]["labels"]["ensembles.dev/role"] for j in jobs] == ["prune"]
    assert not jobs[0]["metadata"].get("ownerReferences")
    assert story.seen.finalizers == (FINALIZER,)
    story.end("prune", result=Result())
    story.step()
    assert not story.seen.finalizers
    assert story.jobs("prune") == []


@pytest.mark.parametrize("why", ["namespace", "annotation", "time"])
def test_deletion_never_hangs_on_storage(why: str) -> None:
    story = Story()
    story.change(deletionPolicy="Delete")
    story.step()
    story.seen = replace(
        story.seen,
        deleting_since=story.seen.now,
        namespace_terminating=why == "namespace",
        annotations={"ensembles.dev/abandon-storage": "yes"} if why == "annotation" else {},
    )
    story.step()
    if why == "time":
        story.end("prune", "failed", result=fault(Reason.STORAGE_UNAVAILABLE))
        story.step()
        story.step(599)
        assert story.seen.finalizers
        story.step(2)
    assert story.seen.finalizers == ()
    assert [event.reason for event in story.last.events] == ["PruneSkipped"]


def test_a_deletion_has_its_whole_patience_though_no_operator_ran() -> None:
    story = Story()
    story.change(deletionPolicy="Delete")
    story.step()
    story.seen = replace(story.seen, deleting_since=story.seen.now - timedelta(hours=3))
    story.step()
    story.end("prune", "failed", result=fault(Reason.STORAGE_UNAVAILABLE, "no answer"))
    story.step()
    assert story.seen.finalizers
    assert story.last.status is not None
    assert story.last.status["stage"] == "Deleting"
    said = condition(story.last, "Reconciling")["message"]  # type: ignore[index]
    assert "no answer" in said
    assert "ensembles.dev/abandon-storage" in said
    story.step(400)
    story.end("prune", result=Result())
    story.step()
    assert story.seen.finalizers == ()
    assert story.last.events == ()


def test_history_over_the_limit_is_pruned_files_first() -> None:
    story = Story()
    story.change(revisionHistoryLimit=1, rollout={"retainSeconds": 0, "watchSeconds": 0})
    story.until_ready()
    story.change(
        revisionHistoryLimit=1, rollout={"retainSeconds": 0, "watchSeconds": 0}, models=SPEC["models"][:2]
    )
    story.until_ready(OTHER)
    assert len(story.seen.rollouts) == 2
    job = story.jobs("prune")[0]
    assert job.state == "active"
    story.end("prune", result=Result())
    story.step()
    assert [r.data.revision for r in story.seen.rollouts] == [OTHER]
    story.step()
    assert story.jobs("prune") == []
    assert story.reason == "Ready"


def test_what_a_deleted_resource_of_the_name_left_behind_is_not_ours() -> None:
    story = Story()
    story.until_ready()
    again = Story(
        uid="99999999-0000-0000-0000-000000000000",
        rollouts=story.seen.rollouts,
        jobs=story.seen.jobs,
        deployments=story.seen.deployments,
    )
    again.step()
    assert [m["metadata"]["labels"]["ensembles.dev/role"] for m in created(again.last, "Job")] == ["assemble"]
    assert created(again.last, "Deployment") == []
    assert again.active is None
