"""Pods whose Deployment is gone, and which the garbage collector has not ended yet."""

from __future__ import annotations

from dataclasses import replace

from ensemble_operator.plan.observation import PodSeen
from tests.unit.plan.test_strategies import OTHER, THIRD, Fleet
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
    service = next(s for s in story.seen.services if s.name == "net")
    return "ensembles.dev/rollout" not in service.manifest["spec"]["selector"]


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
