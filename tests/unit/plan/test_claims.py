"""Pods that get their GPU by a resource claim."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ensemble_operator.plan.observation import CLAIMS, ContainerSeen, PodSeen
from tests.unit.plan.story import Story
from tests.unit.plan.world import condition, missing_dali

NO_TEMPLATE = (
    'PodResourceClaim gpu: resource claim template "one-gpu": '
    'resourceclaimtemplate.resource.k8s.io "one-gpu" not found'
)
NO_DEVICE = "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable"
TARGETS = [{"name": "l4", "gpu": {"product": "NVIDIA-L4", "resourceClaimTemplateName": "one-gpu"}}]


def building(**pod: object) -> Story:
    """A build whose pod waits."""
    story = Story()
    story.change(serving={"targets": TARGETS})
    story.step()
    story.end("assemble", result=missing_dali())
    story.step()
    (job,) = story.jobs("build")
    seen = PodSeen(
        **{  # type: ignore[arg-type]
            "name": "p",
            "uid": "p",
            "labels": {},
            "phase": "Pending",
            "scheduled": False,
            "devices": (CLAIMS,),
            "claim_templates": ("one-gpu",),
            "created": story.seen.now,
            **pod,
        }
    )
    held = replace(job, pods=(seen,))
    story.seen = replace(story.seen, jobs=tuple(held if j.name == job.name else j for j in story.seen.jobs))
    story.step(40)
    return story


def test_no_free_device_is_waited_for() -> None:
    story = building(unscheduled_reason="Unschedulable", unscheduled_message=NO_DEVICE)
    assert story.reason == "WaitingForGPU"
    assert NO_DEVICE in condition(story.last, "Reconciling")["message"]  # type: ignore[index]


def test_a_template_that_does_not_exist_is_named_with_its_field() -> None:
    story = building(claim_error=NO_TEMPLATE)
    assert story.reason == "ClaimTemplateMissing"
    message = condition(story.last, "Reconciling")["message"]  # type: ignore[index]
    assert message == (
        f"spec.serving.targets[0].gpu.resourceClaimTemplateName: pod p: {NO_TEMPLATE}; create it in this "
        "namespace, or name another"
    )
    story.step(300)
    assert condition(story.last, "Stalled")["message"] == message  # type: ignore[index]
    assert story.last.actions == (), "the pod goes on by itself once the template is there"


def test_a_node_that_cannot_prepare_the_device_is_told_and_waited_for() -> None:
    said = "Failed to prepare dynamic resources: DRA driver gpu.example.com is not registered"
    story = building(claim_error=said, scheduled=True)
    assert story.reason == "Unschedulable"
    assert said in condition(story.last, "Reconciling")["message"]  # type: ignore[index]


def test_a_build_that_never_started_has_not_taken_too_long() -> None:
    story = building()
    unknown = [
        ContainerSeen(name=name, init=True, exit_code=137, terminated_reason="ContainerStatusUnknown")
        for name in ("fetch", "compile")
    ]
    pod = PodSeen(
        name="p",
        uid="p",
        labels={},
        phase="Failed",
        reason="DeadlineExceeded",
        message="Pod was active on the node longer than the specified deadline",
        node="n",
        containers=(*unknown, ContainerSeen(name="upload", waiting_reason="PodInitializing")),
    )
    story.end("build", "failed", pod=pod)
    story.step()
    assert story.reason == "JobFailed", "tried again, and nobody is told to raise a timeout"
    assert "no container of Job" in condition(story.last, "Reconciling")["message"]  # type: ignore[index]

    story = building()
    fetched = replace(unknown[0], started_at=story.seen.now, terminated_reason="Completed", exit_code=0)
    story.end("build", "failed", pod=replace(pod, containers=(fetched, *pod.containers[1:])))
    story.step()
    assert story.reason == "BuildTimedOut"
    assert condition(story.last, "Stalled") is not None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("PodResourceClaim gpu: resourceclaims is forbidden: exceeded quota: team", "QuotaExceeded"),
        ("PodResourceClaim gpu: something else", "Unschedulable"),
    ],
)
def test_a_claim_that_is_refused_for_another_reason(said: str, reason: str) -> None:
    story = building(claim_error=said)
    assert story.reason == reason
    assert said in condition(story.last, "Reconciling")["message"]  # type: ignore[index]
