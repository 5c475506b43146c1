"""A rollout that is watched after its promotion, and what becomes of its servers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from ensemble_operator.plan.observation import ContainerSeen, PodSeen
from tests.unit.plan.story import Story
from tests.unit.plan.world import REVISION, SPEC, published

OTHER = "4" * 64
TWO = SPEC["models"][:2]
WATCHED: dict[str, Any] = {"retainSeconds": 0, "watchSeconds": 60}
CRASHED = ContainerSeen(
    name="tritonserver", waiting_reason="CrashLoopBackOff", exit_code=139, restarts=2,
    terminated_reason="Error", termination_message="Segmentation fault",
)  # fmt: skip
UNREADY = ContainerSeen(name="tritonserver", running=True)


def promoted(story: Story, revision: str) -> None:
    """Until the rollout of the present spec serves, and not one pass more than that takes."""
    story.assemble(published(revision))
    story.step()
    story.servers_ready()
    story.end("verify")
    while served(story) != revision:
        story.step()


def second(**rollout: Any) -> Story:
    """The second revision has just been promoted."""
    story = Story()
    story.change(rollout={**WATCHED, **rollout})
    promoted(story, REVISION)
    for _ in range(3):
        story.step(30)
    story.change(rollout={**WATCHED, **rollout}, models=TWO)
    promoted(story, OTHER)
    story.step()
    return story


def served(story: Story) -> str | None:
    assert story.last.status is not None
    return story.last.status.get("revision")


def servers(story: Story, server: ContainerSeen, *, since: float = 0, **pod: Any) -> None:
    """The pods of the rollout that serves are seen so, not ready for `since` seconds."""
    now = story.seen.now
    seen = PodSeen(
        name="pod-1", uid="1", labels={}, phase="Running", created=now - timedelta(minutes=5),
        not_ready_since=now - timedelta(seconds=since), containers=(server,),
    )  # fmt: skip
    seen = replace(seen, **pod)
    active = story.active
    story.seen = replace(
        story.seen,
        endpoints_ready=False,
        deployments=tuple(
            replace(d, pods=(seen,), ready_replicas=0) if d.labels["ensembles.dev/rollout"] == active else d
            for d in story.seen.deployments
        ),
    )


def went_back(story: Story) -> bool:
    for _ in range(8):
        story.step()
    return served(story) == REVISION
