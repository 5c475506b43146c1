"""The planner through whole life cycles, one pass at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ensemble_operator.plan.actions import Apply, Create, Event, Scale, SetFinalizer
from ensemble_operator.plan.observation import ContainerSeen, SpecError
from ensemble_operator.plan.planner import plan
from ensembles_api.contract import Result
from ensembles_api.names import FINALIZER
from ensembles_api.reasons import REASONS, Nature, Reason
from tests.unit.plan.world import (
    CONFIG,
    REVISION,
    SPEC,
    Story,
    condition,
    created,
    deleted,
    fault,
    missing_dali,
    observation,
    of_type,
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


def test_first_pass_asks_for_the_request_and_one_assemble_job() -> None:
    result = plan(observation(), CONFIG)
    assert [m["metadata"]["labels"]["ensembles.dev/role"] for m in created(result, "Job")] == ["assemble"]
    assert len(created(result, "ConfigMap")) == 1
    assert condition(result, "Ready")["reason"] == "Assembling"  # type: ignore[index]
    assert condition(result, "Reconciling") is not None
    assert condition(result, "Stalled") is None


def test_from_apply_to_ready_and_then_nothing_more() -> None:
    story = Story()
    story.until_ready()
    assert story.reason == "Ready"
    assert story.last.actions == ()
    assert story.last.events == ()
    assert story.last.status is not None
    assert story.last.status["revision"] == REVISION
    assert story.last.status["url"] == "http://net.demo.svc:8000"
    assert condition(story.last, "Reconciling") is None
    assert story.seen.jobs == () or {j.labels["ensembles.dev/role"] for j in story.seen.jobs} == {"verify"}


def test_nothing_serves_before_it_is_verified() -> None:
    story = Story()
    story.until_published()
    story.step()
    story.servers_ready()
    for _ in range(5):
        story.step()
        assert not [s for s in story.seen.services if s.name == "net"]
    assert story.reason == "Verifying"


def test_verified_but_not_ready_servers_do_not_serve() -> None:
    story = Story()
    story.until_published()
    story.step()
    story.end("verify", result=Result())
    story.step()
    assert not [s for s in story.seen.services if s.name == "net"]


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


def test_the_builds_ask_for_the_lock_and_the_next_round_for_what_was_built() -> None:
    story = Story()
    story.step()
    story.end("assemble", result=missing_dali())
    story.step()
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
    story.step()
    story.end("assemble", result=missing_dali())
    story.step()
    job = story.jobs("build")[0]
    story.seen = replace(story.seen, jobs=tuple(
        replace(j, owners=("somebody-else",)) if j.name == job.name else j for j in story.seen.jobs
    ))  # fmt: skip
    story.step()
    assert created(story.last, "Job") == []
    assert any(type(action).__name__ == "AddOwner" for action in story.last.actions)


def test_a_build_into_another_storage_is_not_waited_for() -> None:
    def building(**storage: str) -> Story:
        story = Story()
        story.change(storage={**SPEC["storage"], **storage})
        story.step()
        story.end("assemble", result=missing_dali())
        story.step()
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
    story.step()
    story.end("assemble", result=missing_dali())
    story.step()
    story.end("build", result=Result())
    long_ago = story.seen.now - timedelta(hours=1)
    story.seen = replace(story.seen, jobs=tuple(
        replace(j, finished_at=long_ago) if j.labels["ensembles.dev/role"] == "build" else j
        for j in story.seen.jobs
    ))  # fmt: skip
    story.step()
    assert [m["metadata"]["annotations"]["ensembles.dev/attempt"] for m in created(story.last, "Job")] == [
        "2"
    ]


def test_out_of_memory_is_forgiven_once() -> None:
    story = Story()
    story.step()
    story.end("assemble", result=missing_dali())
    story.step()
    for attempt in (1, 2):
        story.end("build", "failed", pod=out_of_memory("compile"))
        story.step()
        assert (condition(story.last, "Stalled") is not None) == (attempt == 2)
    assert "resources.limits.memory" in condition(story.last, "Stalled")["message"]  # type: ignore[index]


def test_a_second_revision_switches_with_an_overlap_and_the_old_one_drains_later() -> None:
    story = Story()
    story.until_ready()
    first = story.active
    story.change(models=SPEC["models"][:2])
    story.until_published(OTHER)
    story.step()
    story.servers_ready()
    assert story.active == first
    story.end("verify", result=Result())
    story.step()
    selector = _selector(story)
    assert "ensembles.dev/rollout" not in selector
    story.step(1)
    assert "ensembles.dev/rollout" not in _selector(story)
    story.step(4)
    second = _selector(story)["ensembles.dev/rollout"]
    assert second != first
    story.step()
    assert story.reason == "Ready"
    assert {d.labels["ensembles.dev/rollout"] for d in story.seen.deployments} == {first, second}
    story.step(120)
    assert {d.labels["ensembles.dev/rollout"] for d in story.seen.deployments} == {second}


def _selector(story: Story) -> dict[str, str]:
    service = next(s for s in story.seen.services if s.name == "net")
    return dict(service.manifest["spec"]["selector"])


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
    story.until_ready()
    first = story.active
    story.change(models=SPEC["models"][:2])
    story.until_published(OTHER)
    story.step()
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
    story.step()
    story.end("assemble", result=published())
    story.step()
    assert story.seen.deployments == ()
    story.step()
    story.verify_and_promote()
    assert story.reason == "Ready"


@pytest.mark.parametrize("retained", [True, False])
def test_coming_back_to_a_known_spec_builds_nothing(*, retained: bool) -> None:
    story = Story()
    rollout = {"retainSeconds": 3600 if retained else 0, "watchSeconds": 0}
    story.change(rollout=rollout)
    story.until_ready()
    story.change(rollout=rollout, models=SPEC["models"][:2])
    story.until_ready(OTHER)
    story.change(rollout=rollout)
    story.step()
    roles = {m["metadata"]["labels"]["ensembles.dev/role"] for m in created(story.last, "Job")}
    assert roles == (set() if retained else {"verify"})
    if not retained:
        story.step()
        story.end("verify", result=Result())
    for _ in range(6):
        story.servers_ready()
        story.step(2)
    assert story.reason == "Ready"
    assert story.last.status is not None
    assert story.last.status["revision"] == REVISION


def test_other_inputs_with_the_same_revision_are_assembled_once_and_restart_nothing() -> None:
    story = Story()
    story.until_ready()
    first = story.active
    story.seen = replace(story.seen, annotations={"ensembles.dev/requestedAt": "now"})
    assembled = 0
    for _ in range(6):
        story.step()
        assert created(story.last, "Deployment") == []
        if [j for j in story.jobs("assemble") if j.state == "active"]:
            assembled += 1
            story.end("assemble", result=published())
    assert assembled == 1
    assert story.reason == "Ready"
    assert story.active == first
    story.seen = replace(story.seen, annotations={})
    story.step()
    assert created(story.last, "Job") == []
    assert story.reason == "Ready"


def test_replicas_go_through_scale_and_need_no_rollout() -> None:
    story = Story()
    story.until_ready()
    story.change(serving={"replicas": 3})
    story.step()
    assert [(a.replicas) for a in of_type(story.last, Scale)] == [3]
    assert created(story.last, "Deployment") == []
    assert [m["kind"] for m in created(story.last, "PodDisruptionBudget")] == ["PodDisruptionBudget"]
    story.servers_ready()
    story.step()
    assert story.reason == "Ready"
    story.change(serving={"replicas": 1})
    story.step()
    assert ("PodDisruptionBudget", story.seen.deployments[0].name) in deleted(story.last)


def test_children_deleted_or_edited_by_hand_are_put_back() -> None:
    story = Story()
    story.until_ready()
    kept = story.seen
    story.seen = replace(kept, deployments=(), endpoints_ready=False)
    story.step()
    assert [m["kind"] for m in created(story.last, "Deployment")] == ["Deployment"]
    service = next(s for s in kept.services if s.name == "net")
    manifest = {**service.manifest, "spec": {**service.manifest["spec"], "selector": {"app": "mine"}}}
    story.seen = replace(kept, services=tuple(
        replace(s, manifest=manifest) if s.name == "net" else s for s in kept.services
    ))  # fmt: skip
    story.step()
    assert [a.manifest["kind"] for a in of_type(story.last, Apply)] == ["Service"]
    story.seen = replace(kept, services=tuple(s for s in kept.services if s.name != "net"))
    story.step()
    assert "net" in [m["metadata"]["name"] for m in created(story.last, "Service")]


def test_a_record_deleted_by_hand_is_made_again_while_its_servers_serve_on() -> None:
    story = Story()
    story.until_ready()
    first = story.active
    service = next(s for s in story.seen.services if s.name == "net")
    story.seen = replace(story.seen, rollouts=())
    for _ in range(12):
        story.step()
        assert "Deployment" not in {kind for kind, _ in deleted(story.last)}
        assert created(story.last, "Deployment") == []
        story.cluster_moves(REVISION)
    assert story.reason == "Ready"
    assert story.active == first
    assert len(story.seen.rollouts) == 1
    assert next(s for s in story.seen.services if s.name == "net").manifest == service.manifest


def test_suspend_changes_nothing() -> None:
    story = Story(spec=None)
    story.change(suspend=True)
    story.step()
    assert story.last.actions == ()
    assert story.reason == "Suspended"
    assert condition(story.last, "Stalled") is None
    assert condition(story.last, "Reconciling") is None


def test_a_foreign_service_is_never_touched() -> None:
    story = Story()
    story.until_ready()
    service = next(s for s in story.seen.services if s.name == "net")
    foreign = replace(service, owners=("other",), labels={}, annotations={})
    story = Story(services=(foreign,))
    story.until_published()
    assert story.reason == "ObjectNotOwned"
    assert not [
        a for a in story.last.actions if isinstance(a, Create | Apply) and a.manifest["kind"] == "Service"
    ]


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


def test_events_come_with_transitions_only() -> None:
    story = Story()
    seen: list[Event] = []
    for _ in range(4):
        seen += story.step().events
    assert [event.reason for event in seen] == ["Assembling"]


def test_plans_are_pure() -> None:
    story = Story()
    story.until_published()
    assert plan(story.seen, CONFIG) == plan(story.seen, CONFIG)


def test_labels_and_annotations_of_the_resource_change_nothing() -> None:
    story = Story()
    story.until_ready()
    story.seen = replace(story.seen, annotations={"team": "vision"})
    story.step()
    assert story.last.actions == ()


def test_ready_means_that_a_server_answers() -> None:
    story = Story()
    story.until_ready()
    story.seen = replace(story.seen, endpoints_ready=False)
    story.step()
    assert story.reason == "NoReadyEndpoints"
    assert condition(story.last, "Reconciling") is not None
    assert condition(story.last, "Stalled") is None
    story.seen = replace(story.seen, endpoints_ready=True)
    story.step()
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


def test_ready_does_not_flap_when_the_first_servers_are_promoted() -> None:
    story = Story()
    story.until_published()
    story.step()
    story.servers_ready()
    story.end("verify", result=Result())
    seen = []
    for _ in range(12):
        story.step(0.5)
        story.servers_ready()
        seen.append(str(condition(story.last, "Ready")["status"]))  # type: ignore[index]
    assert seen == sorted(seen)
    assert seen[-1] == "True"
