"""Whose fault it is decides what follows: another try, a stall, or a rollout that is marked as failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ensemble_operator.plan.observation import ContainerSeen, SpecError
from ensembles_api.reasons import REASONS, Nature, Reason
from tests.unit.plan.story import Story
from tests.unit.plan.world import (
    condition,
    created,
    fault,
    out_of_memory,
    published,
    server_pod,
)

OTHER = "4" * 64
WORLD = [reason for reason, info in REASONS.items() if info.nature is Nature.WORLD]
USER = [
    reason
    for reason, info in REASONS.items()
    if info.nature is Nature.USER and reason is not Reason.OUT_OF_MEMORY
]
GRACE = [reason for reason, info in REASONS.items() if info.nature is Nature.GRACE]


@pytest.mark.parametrize("reason", WORLD)
def test_faults_of_the_world_are_retried_with_growing_waits(reason: Reason) -> None:
    story = Story()
    story.step()
    waits = []
    for attempt in range(1, 5):
        story.end("assemble", "failed", result=fault(reason))
        story.step()
        assert condition(story.last, "Reconciling")["reason"] == reason.value  # type: ignore[index]
        assert condition(story.last, "Stalled") is None
        assert story.last.status is not None
        assert story.last.status["attempt"] == attempt
        assert story.last.wake is not None
        wait = (story.last.wake - story.seen.now).total_seconds()
        waits.append(wait)
        story.step(wait + 1)
        assert len([j for j in story.jobs("assemble") if j.state == "active"]) == 1
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]


@pytest.mark.parametrize("reason", USER)
def test_faults_of_the_user_stall_and_are_not_retried(reason: Reason) -> None:
    story = Story()
    story.step()
    story.end("assemble", "failed", result=fault(reason, "broken; mend it", "spec.models[0].dali.source"))
    for _ in range(3):
        story.step(1000)
        stalled = condition(story.last, "Stalled")
        assert stalled is not None
        assert stalled["reason"] == reason.value
        assert "spec.models[0].dali.source" in stalled["message"]
        assert condition(story.last, "Reconciling") is None
        assert not [j for j in story.jobs("assemble") if j.state == "active"]


@pytest.mark.parametrize("reason", GRACE)
def test_what_gitops_may_bring_later_stalls_after_two_minutes_and_is_still_retried(reason: Reason) -> None:
    story = Story()
    story.step()
    story.end("assemble", "failed", result=fault(reason))
    story.step()
    assert condition(story.last, "Reconciling") is not None
    for _ in range(12):
        story.step(11)
        if [j for j in story.jobs("assemble") if j.state == "active"]:
            story.end("assemble", "failed", result=fault(reason))
    story.step()
    assert condition(story.last, "Stalled") is not None
    story.step(301)
    assert [j for j in story.jobs("assemble") if j.state == "active"]
    story.end("assemble", result=published())
    story.step()
    assert story.reason == "RollingOut"


def test_out_of_memory_is_forgiven_once() -> None:
    story = Story()
    story.until_building()
    for attempt in (1, 2):
        story.end("build", "failed", pod=out_of_memory("compile"))
        story.step()
        assert (condition(story.last, "Stalled") is not None) == (attempt == 2)
    assert "resources.limits.memory" in condition(story.last, "Stalled")["message"]  # type: ignore[index]


def test_a_wrong_later_spec_keeps_what_serves() -> None:
    story = Story()
    story.until_ready()
    first = story.active
    story.seen = replace(
        story.seen, spec=None, spec_error=SpecError("spec.models[0].name", "must not be empty"), generation=2
    )
    story.step()
    assert condition(story.last, "Stalled")["reason"] == "InvalidSpec"  # type: ignore[index]
    assert condition(story.last, "Ready")["status"] == "False"  # type: ignore[index]
    assert condition(story.last, "Available")["status"] == "True"  # type: ignore[index]
    assert story.active == first
    assert story.last.actions == ()


def test_servers_that_crash_fail_the_rollout_once_and_the_old_one_serves_on() -> None:
    story = Story()
    first = story.bring_up_second(OTHER)
    new = next(d for d in story.seen.deployments if d.labels["ensembles.dev/rollout"] != first)
    crashed = ContainerSeen(
        name="tritonserver",
        exit_code=1,
        restarts=2,
        termination_message="I ok\nE failed to load 'classifier'",
    )
    pod = server_pod(new.manifest, crashed)
    story.seen = replace(story.seen, deployments=tuple(
        replace(d, pods=(pod,)) if d.name == new.name else d for d in story.seen.deployments
    ))  # fmt: skip
    story.step()
    assert "failed to load 'classifier'" in condition(story.last, "Stalled")["message"]  # type: ignore[index]
    for _ in range(4):
        story.step(600)
        assert story.reason == "LoadFailed"
        assert story.active == first
        assert created(story.last, "Deployment") == []
    assert next(d for d in story.seen.deployments if d.name == new.name).replicas == 0


@pytest.mark.parametrize(
    ("code", "killed", "tries"), [(1, "Error", 2), (139, "Error", 4), (134, "Error", 4), (137, "Error", 2),
                                  (137, "OOMKilled", 2), (143, "Error", 2)],
)  # fmt: skip
def test_a_server_that_a_signal_ends_while_it_loads_has_more_tries(
    code: int, killed: str, tries: int
) -> None:
    story = Story()
    story.until_published()
    story.step()
    (new,) = story.seen.deployments
    for restarts in range(tries + 1):
        ended = ContainerSeen(
            name="tritonserver", exit_code=code, terminated_reason=killed, restarts=restarts
        )
        story.seen = replace(story.seen, deployments=(replace(new, pods=(server_pod(new.manifest, ended),)),))
        story.step()
        assert (story.reason == "LoadFailed") == (restarts == tries), restarts
        if story.reason != "LoadFailed" and code in {134, 139}:
            said = condition(story.last, "Reconciling")
            assert said is not None
            assert f"ended with exit code {code} and is tried again" in said["message"]


@pytest.mark.parametrize(("killed", "field"), [("Error", ""), ("OOMKilled", ".resources.limits.memory")])
def test_a_proxy_that_crashes_is_told_and_fails_the_rollout(killed: str, field: str) -> None:
    story = Story()
    story.until_published()
    story.step()
    (new,) = story.seen.deployments
    proxy = ContainerSeen(
        name="http", exit_code=1, terminated_reason=killed, restarts=2, termination_message="no haproxy here"
    )
    pod = server_pod(new.manifest, ContainerSeen(name="tritonserver", running=True, ready=True))
    story.seen = replace(
        story.seen, deployments=(replace(new, pods=(replace(pod, containers=(*pod.containers, proxy)),)),)
    )
    story.step()
    message = condition(story.last, "Stalled")["message"]  # type: ignore[index]
    assert story.reason == "LoadFailed"
    assert f"spec.serving.httpProxy{field}: " in message
    assert ("no haproxy here" in message) == (killed == "Error")


def test_the_model_that_cannot_load_is_named_before_other_errors() -> None:
    story = Story()
    story.until_published()
    story.step()
    log = (
        'E1121 01:42:21.962294 1 server.cc:241] "CudaDriverHelper has not been initialized."\n'
        "E1121 01:42:24.451761 1 model_lifecycle.cc:642] \"failed to load 'net' version 1: Internal: "
        'RuntimeError: too large\\n\\nAt:\\n  model.py(4)\\n"\n'
        "Error: Failed to initialize NVML\n"
        "error: creating server: Internal - failed to load all models\n"
    )
    crashed = ContainerSeen(name="tritonserver", exit_code=1, restarts=2, termination_message=log)
    story.seen = replace(
        story.seen,
        deployments=tuple(
            replace(d, pods=(server_pod(d.manifest, crashed),)) for d in story.seen.deployments
        ),
    )
    story.step()
    message = condition(story.last, "Stalled")["message"]  # type: ignore[index]
    assert message.endswith(
        "exit code 1: failed to load 'net' version 1: Internal: RuntimeError: too large  At:   model.py(4) "
    )


def test_a_failed_rollout_is_tried_again_when_asked_for() -> None:
    story = Story()
    story.until_published()
    story.step()
    story.servers_ready()
    story.end("verify", "failed", result=fault(Reason.VERIFICATION_FAILED, "NaN"))
    story.step()
    assert condition(story.last, "Stalled") is not None
    story.seen = replace(story.seen, annotations={"ensembles.dev/requestedAt": "now"})
    story.assemble(published())
    assert story.seen.deployments == ()
    story.step()
    story.verify_and_promote()
    assert story.reason == "Ready"


def test_missing_config_map_waits_then_stalls_then_heals() -> None:
    story = Story(config_maps={"pipes": None})
    models = [{"name": "p", "dali": {"source": {"configMap": {"name": "pipes", "key": "pipe.py"}}}}]
    story.change(models=models)
    story.step()
    assert condition(story.last, "Reconciling")["reason"] == "ConfigMapMissing"  # type: ignore[index]
    assert "spec.models[0].dali.source.configMap" in condition(story.last, "Reconciling")["message"]  # type: ignore[index]
    story.step(60)
    assert condition(story.last, "Stalled") is None
    story.step(65)
    assert condition(story.last, "Stalled")["reason"] == "ConfigMapMissing"  # type: ignore[index]
    story.seen = replace(story.seen, config_maps={"pipes": {"pipe.py": "d" * 64}})
    story.step()
    assert story.reason == "Assembling"
    assert len(story.jobs("assemble")) == 1
