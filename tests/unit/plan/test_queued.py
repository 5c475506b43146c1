"""A build that its queue holds back, or takes off its node again: waiting, never a failure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from ensemble_operator.plan.observation import JobSeen, PodSeen, QueueSeen
from tests.unit.plan.story import Story
from tests.unit.plan.world import condition, missing_dali

NO_ROOM = "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor l4"
LABELS = {"kueue.x-k8s.io/queue-name": "gpus"}


def building() -> Story:
    """One build is ordered."""
    story = Story()
    story.change(build={"queueName": "gpus"})
    story.step()
    story.end("assemble", result=missing_dali())
    story.step()
    return story


def put(story: Story, **changes: Any) -> JobSeen:
    """Set what is seen of the build's Job."""
    (job,) = story.jobs("build")
    changed = replace(job, **changes)
    jobs = tuple(changed if seen.name == job.name else seen for seen in story.seen.jobs)
    story.seen = replace(story.seen, jobs=jobs)
    return changed


def hold(story: Story, seen: QueueSeen | None) -> JobSeen:
    """Kueue suspends the Job, whose pod is gone."""
    return put(story, suspended=True, suspended_since=story.seen.now, queue=seen, pods=())


def said(story: Story) -> str:
    found = condition(story.last, "Reconciling")
    assert found is not None
    assert condition(story.last, "Stalled") is None
    return str(found["message"])


def test_it_says_where_it_waits_since_when_and_why() -> None:
    story = building()
    assert story.jobs("build")[0].labels.items() >= LABELS.items()
    job = hold(story, QueueSeen(NO_ROOM))
    since = job.suspended_since
    assert since is not None
    story.step(3600)
    assert story.reason == "WaitingInQueue"
    assert said(story) == f"Job {job.name} waits in queue gpus: {NO_ROOM} (since {since:%Y-%m-%dT%H:%M:%SZ})"
    assert story.last.actions == ()
    assert story.last.status is not None
    assert story.last.status["models"][0]["state"] == "Waiting"


def test_it_waits_for_as_long_as_it_takes_and_fails_nothing() -> None:
    story = building()
    hold(story, QueueSeen(NO_ROOM))
    for _ in range(50):
        story.step(7200)
        assert story.reason == "WaitingInQueue"
        assert story.last.actions == ()
    put(story, suspended=False)
    story.cluster_moves("3" * 64)
    story.step()
    assert len(story.jobs("assemble")) == 2, "what was built goes into the next round"


def test_one_that_was_stopped_says_so_and_begins_again_as_the_same_job() -> None:
    story = building()
    (running,) = story.jobs("build")
    story.step(600)
    killed = PodSeen(name="p", uid="p", labels={}, phase="Failed", deleting=True)
    put(
        story,
        suspended=True,
        suspended_since=story.seen.now,
        queue=QueueSeen(NO_ROOM, "Preempted"),
        pods=(killed,),
    )
    story.step()
    assert story.reason == "WaitingInQueue"
    assert f"Job {running.name} was stopped by Kueue (Preempted) and waits in queue gpus" in said(story)
    assert story.last.actions == ()
    put(story, suspended=False, queue=None, pods=running.pods)
    story.step()
    assert story.reason == "Building"
    assert [job.name for job in story.jobs("build")] == [running.name], "no other attempt"


def test_without_kueues_word_the_queue_is_named() -> None:
    story = building()
    job = hold(story, None)
    story.step()
    assert said(story).startswith(f"Job {job.name} waits in queue gpus (since ")


def test_one_that_kueue_does_not_take_up_says_what_may_be_amiss() -> None:
    story = building()
    job = hold(story, QueueSeen(taken_up=False))
    story.step()
    assert f"Job {job.name} waits for Kueue, which has not put it into queue gpus: does the prio" in said(
        story
    )


def test_one_that_is_kept_out_says_how_it_is_let_in() -> None:
    story = building()
    hold(story, QueueSeen("", "DeactivatedDueToRequeuingLimitExceeded", active=False))
    story.step()
    assert "is kept out of queue gpus: set spec.active of its Workload to true" in said(story)


def test_a_queue_that_does_not_exist_needs_somebody_after_a_while() -> None:
    story = building()
    hold(story, QueueSeen("LocalQueue gpus doesn't exist"))
    story.step()
    assert story.reason == "QueueMissing"
    assert said(story).startswith("spec.build.queueName: ")
    story.step(300)
    stalled = condition(story.last, "Stalled")
    assert stalled is not None
    assert "LocalQueue 'gpus', which this namespace does not have" in stalled["message"]
    put(story, suspended=False, queue=None)
    story.step()
    assert story.reason == "Building", "once it is there the same Job goes on"


def test_another_queue_is_another_job() -> None:
    story = building()
    (first,) = story.jobs("build")
    hold(story, QueueSeen(NO_ROOM))
    story.change(build={"queueName": "spare"})
    story.step()
    (second,) = [job for job in story.jobs("build") if job.name != first.name]
    assert second.labels["kueue.x-k8s.io/queue-name"] == "spare"
    story.step()
    assert [job.name for job in story.jobs("build")] == [second.name]


def test_back_to_the_former_queue_is_another_job_again() -> None:
    story = building()
    hold(story, QueueSeen(NO_ROOM))
    for queue in ("spare", "gpus", "spare"):
        story.change(build={"queueName": queue})
        story.step()
        story.step()
        job = hold(story, QueueSeen(NO_ROOM))
        assert job.labels["kueue.x-k8s.io/queue-name"] == queue
        story.step()
        assert story.last.actions == ()


def test_a_job_that_others_share_stays_where_it_is() -> None:
    story = building()
    job = hold(story, QueueSeen(NO_ROOM))
    story.change(build={"queueName": "spare"})
    story.step()
    (second,) = [seen for seen in story.jobs("build") if seen.name != job.name]
    story.step()
    put(story, suspended=True, owners=(*second.owners, "another"), annotations=second.annotations)
    story.change(build={"queueName": "gpus"})
    story.step()
    assert story.last.actions == ()


def test_one_that_a_hand_suspended_is_in_no_queue() -> None:
    story = Story()
    story.step()
    (job,) = story.jobs("assemble")
    held = replace(job, suspended=True, pods=(), created=story.seen.now - timedelta(seconds=40))
    story.seen = replace(story.seen, jobs=(held,))
    story.step()
    assert story.reason == "WaitingInQueue"
    assert f"Job {job.name} is suspended, and in no queue: resume it" in said(story)
