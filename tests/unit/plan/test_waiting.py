"""What servers wait for, told from their pods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ensemble_operator.plan.observation import ContainerSeen, PodSeen
from ensembles_api.reasons import Reason
from tests.unit.plan.story import Story
from tests.unit.plan.world import condition, fault, missing_dali

NO_CPU = "0/1 nodes are available: 1 Insufficient cpu. preemption: not helpful."
NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: not helpful."
NO_MEMORY_BESIDE_THE_GPU = (
    "0/3 nodes are available: 1 Insufficient memory, 2 node(s) didn't match Pod's node affinity/selector."
)
"""No server need end for its GPU: that would not help."""
NO_LABEL = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."


def rolling_out(**pod: object) -> Story:
    """A rollout whose only pod looks like this."""
    story = Story()
    story.until_published()
    story.step()
    seen = PodSeen(**{"name": "p", "uid": "p", "labels": {}, "phase": "Pending", **pod})  # type: ignore[arg-type]
    deployments = tuple(replace(d, pods=(seen,)) for d in story.seen.deployments)
    story.seen = replace(story.seen, deployments=deployments)
    story.step()
    return story


@pytest.mark.parametrize(
    ("devices", "message", "reason"),
    [
        ((), NO_CPU, "Unschedulable"),
        ((), NO_LABEL, "Unschedulable"),
        (("nvidia.com/gpu",), NO_CPU, "Unschedulable"),
        (("nvidia.com/gpu",), NO_GPU, "WaitingForGPU"),
        (("nvidia.com/gpu",), NO_LABEL, "WaitingForGPU"),
        (("nvidia.com/gpu",), NO_MEMORY_BESIDE_THE_GPU, "Unschedulable"),
        (("nvidia.com/gpu",), NO_MEMORY_BESIDE_THE_GPU.replace("memory", "nvidia.com/gpu"), "WaitingForGPU"),
        (("nvidia.com/mig-1g.5gb",), NO_GPU.replace("gpu", "mig-1g.5gb"), "WaitingForGPU"),
    ],
)
def test_a_pod_without_node_says_what_it_waits_for(
    devices: tuple[str, ...], message: str, reason: str
) -> None:
    story = rolling_out(
        scheduled=False, unscheduled_reason="Unschedulable", unscheduled_message=message, devices=devices
    )
    assert story.reason == reason
    assert message in condition(story.last, "Reconciling")["message"]  # type: ignore[index]
    assert condition(story.last, "Stalled") is None


@pytest.mark.parametrize("reason", [Reason.STORAGE_UNAVAILABLE, Reason.STORAGE_CORRUPT])
def test_servers_that_cannot_fetch_say_why_and_how_often_they_tried(reason: Reason) -> None:
    message = fault(reason, "no answer", field="spec.storage.endpoint").message()
    fetch = ContainerSeen(name="fetch", init=True, exit_code=1, restarts=2, termination_message=message)
    story = rolling_out(containers=(fetch,))
    assert story.reason == reason.value
    said = condition(story.last, "Reconciling")
    assert said is not None
    assert said["message"].startswith("spec.storage.endpoint: pod p: no answer")
    assert story.last.status is not None
    assert story.last.status["attempt"] == 3


def test_servers_that_fetched_at_last_are_no_trouble() -> None:
    fetch = ContainerSeen(name="fetch", init=True, exit_code=0, restarts=2)
    assert rolling_out(containers=(fetch,)).reason == "RollingOut"


def test_a_job_is_done_when_its_counting_container_is() -> None:
    story = Story()
    story.step()
    (job,) = story.jobs("assemble")
    pod = job.pods[0]
    container = replace(
        pod.containers[0], running=False, exit_code=0, termination_message=missing_dali().message()
    )
    early = replace(job, pods=(replace(pod, containers=(container,)),))
    assert early.state == "active"
    story.seen = replace(story.seen, jobs=(early,))
    story.step()
    assert len(story.jobs("build")) == 1


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ('secret "model-storage" not found', "spec.storage.secretName"),
        (
            "couldn't find key AWS_ACCESS_KEY_ID in Secret demo/of-source",
            "spec.models[0].dali.source.secretName",
        ),
        ('secret "of-nobody" not found', ""),
    ],
)
def test_a_missing_secret_names_the_field_that_names_it(said: str, field: str) -> None:
    story = Story()
    source = {"uri": "s3://models/pipe.py", "secretName": "of-source"}
    models = [{"name": "preprocess", "dali": {"source": source}}]
    story.change(models=models, storage={"uri": "s3://models/x", "secretName": "model-storage"})
    story.step()
    (job,) = story.jobs("assemble")
    container = ContainerSeen(
        name="assemble", waiting_reason="CreateContainerConfigError", waiting_message=said
    )
    waiting = replace(job.pods[0], phase="Pending", containers=(container,))
    story.seen = replace(story.seen, jobs=(replace(job, pods=(waiting,)),))
    story.step()
    assert story.reason == "SecretMissing"
    message = condition(story.last, "Reconciling")["message"]  # type: ignore[index]
    assert message == (f"{field}: " if field else "") + f"{said}; create it"


@pytest.mark.parametrize(
    ("refusal", "field"),
    [
        (
            'pods "x" is forbidden: no PriorityClass with name nope was found',
            "spec.serving.priorityClassName",
        ),
        (
            'pods "x" is forbidden: error looking up service account a/b: serviceaccount "b" not found',
            "spec.serving.serviceAccountName",
        ),
    ],
)
def test_a_refused_pod_names_the_setting(refusal: str, field: str) -> None:
    story = refused(refusal)
    assert condition(story.last, "Stalled")["message"] == f"{field}: {refusal}"  # type: ignore[index]


def refused(refusal: str) -> Story:
    """Servers whose pods the API server does not take."""
    story = rolling_out()
    failure = {"type": "ReplicaFailure", "status": "True", "message": refusal}
    story.seen = replace(story.seen, deployments=tuple(
        replace(d, pods=(), manifest={**d.manifest, "status": {"conditions": [failure]}})
        for d in story.seen.deployments
    ))  # fmt: skip
    story.step()
    return story


@pytest.mark.parametrize(
    "limit",
    [
        "maximum memory usage per Container is 256Mi, but limit is 512Mi",
        "minimum cpu usage per Pod is 1.  No request is specified",
        "cpu max limit to request ratio per Container is 2, but provided ratio is 10.000000",
    ],
)
def test_a_limit_range_names_the_resources_of_both_containers(limit: str) -> None:
    refusal = f'pods "x" is forbidden: {limit}'

    stalled = condition(refused(refusal).last, "Stalled")

    assert stalled is not None
    assert stalled["reason"] == "InvalidPodSettings"
    both = "spec.serving.resources / spec.serving.httpProxy.resources"
    assert stalled["message"] == (
        f"{both}: {refusal}: set requests and limits within the namespace's LimitRange (without any, "
        "the proxy's memory is limited to 512Mi), or change the LimitRange"
    )


def test_a_limit_range_that_refuses_a_job() -> None:
    refusal = 'pods "x" is forbidden: minimum memory usage per Container is 1Gi, but request is 256Mi'
    story = Story()
    story.step()
    (job,) = story.jobs("assemble")
    story.seen = replace(story.seen, jobs=(replace(job, pods=(), create_error=refusal),))

    story.step()

    stalled = condition(story.last, "Stalled")
    assert stalled is not None
    assert stalled["message"].startswith(f"{refusal}: set spec.build.resources if it is the container")


USAGE = "Tracing:\n  --trace-config <mode>,<setting>=<value>\n\tSpecify trace settings\n"
LOADING = "E1121 01:42:24.451761 1 model_lifecycle.cc:642] \"failed to load 'net' version 1: no\"\n" + USAGE


@pytest.mark.parametrize(
    ("log", "refused"), [(USAGE, True), ("Invalid option value. Got abc\n", True), (LOADING, False)]
)
def test_a_server_that_explains_its_options_points_to_the_users(log: str, *, refused: bool) -> None:
    story = Story()
    story.change(serving={"extraArgs": ["--no-such-flag=1"]})
    story.until_published()
    story.step()
    crashed = ContainerSeen(name="tritonserver", exit_code=1, restarts=2, termination_message=log)
    pod = PodSeen(name="p", uid="p", labels={}, phase="Running", containers=(crashed,))
    story.seen = replace(
        story.seen, deployments=tuple(replace(d, pods=(pod,)) for d in story.seen.deployments)
    )
    story.step()
    said = condition(story.last, "Stalled")["message"]  # type: ignore[index]
    assert ("spec.serving.extraArgs" in said and "--no-such-flag=1" in said) == refused


def test_a_retried_fault_is_the_same_news_at_every_attempt() -> None:
    story = Story()
    story.step()
    told = set()
    for _ in range(3):
        story.end("assemble", "failed", result=fault(Reason.STORAGE_UNAVAILABLE, "no answer"))
        story.step()
        told |= {event.message for event in story.last.events}
        story.step(600)
        story.step()
    assert told == {"spec.models[0].dali.source: no answer"}


@pytest.mark.parametrize(
    ("restarts", "reason"),
    [(0, "WaitingForGPU"), (3, "Ready")],
)
def test_a_further_server_that_waits_says_so_while_others_answer(restarts: int, reason: str) -> None:
    """One that crashes is its Deployment's to start again; it stalls nothing."""
    story = Story()
    story.until_ready()
    crashed = ContainerSeen(name="tritonserver", exit_code=1, restarts=restarts, termination_message="E oops")
    waiting = PodSeen(
        name="p",
        uid="p",
        labels={},
        phase="Pending",
        scheduled=bool(restarts),
        unscheduled_reason="" if restarts else "Unschedulable",
        unscheduled_message="" if restarts else NO_GPU,
        devices=("nvidia.com/gpu",),
        containers=(crashed,) if restarts else (),
    )
    deployments = tuple(replace(d, pods=(*d.pods, waiting)) for d in story.seen.deployments)
    story.seen = replace(story.seen, deployments=deployments)
    story.step()
    assert story.reason == reason
    assert condition(story.last, "Stalled") is None
    available = condition(story.last, "Available")
    assert available is not None
    assert available["status"] == "True"
