"""Pods whose Deployment is gone, and which the garbage collector has not ended yet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ensemble_operator.plan.observation import PodSeen
from tests.unit.plan.fleet import OTHER, THIRD, Fleet
from tests.unit.plan.world import REVISION, SPEC

KEEPING = {"retainSeconds": 600, "watchSeconds": 0}


def third_in_the_way() -> tuple[Fleet, tuple[PodSeen, ...]]:
    """The spec goes back to retained servers while a third rollout is being brought up."""
    story = Fleet()
    story.begin(1, KEEPING)
    story.want()
    story.play(OTHER, 15)
    assert story.reason == "Ready"
    known = {d.name for d in story.seen.deployments}
    story.want(SPEC["models"][:1])
    while not (made := [d for d in story.seen.deployments if d.name not in known]):
        story.play(THIRD, 1)
    story.servers_ready()
    story.want(SPEC["models"])
    return story, made[0].pods


def mixes(story: Fleet) -> bool:
    return "ensembles.dev/rollout" not in story.selector


def test_the_service_does_not_select_all_while_unverified_servers_are_left() -> None:
    story, _ = third_in_the_way()
    pods = next(d for d in story.seen.deployments if story.of(d.labels) not in kept(story)).pods
    assert pods
    story.seen = replace(story.seen, strays=pods)
    for _ in range(5):
        story.step(1)
        assert not mixes(story)
    assert pods[0].name in (story.last.status or {})["conditions"][0]["message"]
    story.seen = replace(story.seen, strays=tuple(replace(pod, deleting=True) for pod in pods))
    story.step(1)
    assert mixes(story), "no client is sent to a pod that ends"
    story.seen = replace(story.seen, strays=())
    story.play(REVISION, 6)
    assert story.reason == "Ready"
    assert story.active == story.old


def kept(story: Fleet) -> set[str]:
    """The rollouts that have served."""
    return {
        r.name.rpartition("-")[2] for r in story.seen.rollouts if "ensembles.dev/outcome" in r.annotations
    }


@pytest.mark.parametrize("made_by", ["hand", "another Deployment"])
def test_a_pod_that_only_bears_our_labels_is_named_with_what_to_do(made_by: str) -> None:
    story = Fleet()
    story.begin(1, KEEPING)
    labels = {**story.seen.deployments[0].labels, "ensembles.dev/rollout": "copied00"}
    pod = PodSeen(
        name="copy", uid="copy", labels=labels, phase="Running", ready=True, owned=made_by != "hand"
    )
    if made_by == "hand":
        story.seen = replace(story.seen, strays=(pod,))
    else:
        theirs = replace(
            story.seen.deployments[0], name="theirs", uid="t", owners=(), labels=labels, pods=(pod,)
        )
        story.seen = replace(story.seen, deployments=(*story.seen.deployments, theirs))
    story.want()
    for _ in range(10):
        story.step(2)
        assert not mixes(story)
        for job in story.jobs("verify") + story.jobs("assemble") + story.jobs("build"):
            if job.state == "active":
                story.cluster_moves(OTHER)
        if made_by == "hand":
            story.servers_ready()
    message = (story.last.status or {})["conditions"][0]["message"]
    assert "pod copy" in message
    assert "delete it, or take its label ensembles.dev/ensemble away" in message
    assert story.active == story.old
    gone = tuple(d for d in story.seen.deployments if d.name != "theirs")
    story.seen = replace(story.seen, strays=(), deployments=gone)
    story.play(OTHER, 8)
    assert story.reason == "Ready"
