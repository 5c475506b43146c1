"""A GPU that the ensemble's own servers hold, while its builds or its next servers wait for one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ensemble_operator.plan.actions import Scale
from ensemble_operator.plan.gpus import asks_what_nodes_offer
from ensemble_operator.plan.observation import ContainerSeen, DeploymentSeen, PodSeen
from ensembles_api.contract import NextBuild, Result
from ensembles_api.reasons import Reason
from tests.unit.plan.story import Story
from tests.unit.plan.test_gpus import ENGINE, MISSING_ENGINE, offers
from tests.unit.plan.world import LOCK, T0, condition, fault, observation, of_type, published, spec

GPU, OTHER = "nvidia.com/gpu", "4" * 64
SELECTOR = "nvidia.com/gpu.product"
LONG_AGO = T0 - timedelta(minutes=1)


def pod(name: str, *, waits: bool, product: str = "L4", created: datetime = LONG_AGO) -> PodSeen:
    return PodSeen(
        created=created,
        name=name,
        uid=name,
        labels={},
        phase="Pending" if waits else "Running",
        ready=not waits,
        scheduled=not waits,
        unscheduled_reason="Unschedulable" if waits else "",
        unscheduled_message="0/1 nodes are available: 1 Insufficient nvidia.com/gpu." if waits else "",
        devices=(GPU,),
        node_selector={SELECTOR: product},
    )


def rebuilding(
    when_busy: str, *, product: str = "L4", waited: timedelta = timedelta(minutes=1), **spec: Any
) -> Story:
    """One GPU of a type, held by the server; a changed model must be built on an L4."""
    told = Story(gpu_offers=offers(L4=(GPU,)))
    spec = {**spec, "build": {"whenGPUBusy": when_busy}}
    told.change(models=[ENGINE], **spec)
    told.assemble(published())
    told.verify_and_promote()
    told.seen = replace(told.seen, deployments=tuple(
        replace(d, pods=(pod("server", waits=False, product=_product(d)),)) for d in told.seen.deployments
    ))  # fmt: skip
    changed = {"name": "net", "tensorrt": {"source": {"uri": "s3://models/other.onnx"}}}
    told.change(models=[changed], **spec)
    told.assemble(MISSING_ENGINE)
    waits(told, "build", product=product, created=told.seen.now - waited)
    told.step()
    return told


def _product(servers: DeploymentSeen) -> str:
    return str(servers.manifest["spec"]["template"]["spec"]["nodeSelector"][SELECTOR])


def waits(told: Story, role: str, *, product: str, created: datetime) -> None:
    for job in told.jobs(role):
        if job.state == "active":
            told.set_job(job, pods=(pod(role, waits=True, product=product, created=created),))


def runs(told: Story) -> None:
    """The build got the GPU that the servers gave."""
    told.seen = replace(
        told.seen,
        deployments=tuple(replace(d, pods=()) for d in told.seen.deployments),
        jobs=tuple(
            replace(job, pods=(pod("build", waits=False),)) if job.name.startswith("build") else job
            for job in told.seen.jobs
        ),
    )


def replicas(told: Story) -> list[int]:
    return [deployment.replicas for deployment in told.seen.deployments]


def test_a_build_that_waits_for_its_own_server_says_so_and_what_can_be_done() -> None:
    told = rebuilding("Wait")
    assert told.reason == "WaitingForGPU"
    said = condition(told.last, "Reconciling")["message"]  # type: ignore[index]
    assert "own server server holds one" in said
    assert "spec.build.whenGPUBusy" in said
    assert of_type(told.last, Scale) == []


def test_a_server_on_another_gpu_type_is_not_in_the_way() -> None:
    told = rebuilding("StopServing", product="A100")
    assert told.reason == "WaitingForGPU"
    assert "own server" not in condition(told.last, "Reconciling")["message"]  # type: ignore[index]
    assert replicas(told) == [1]


def test_a_product_that_no_node_has_is_told() -> None:
    """It may be misspelt; or a node of it comes when a pod waits for one."""
    told = rebuilding("Wait", product="L40")
    said = condition(told.last, "Reconciling")["message"]  # type: ignore[index]
    assert "no node is labelled nvidia.com/gpu.product=L40 (there are L4)" in said
    assert "spec.serving.targets[].gpu.product" in said
    told.seen = replace(told.seen, gpu_offers=None)
    told.step()
    assert "no node" not in condition(told.last, "Reconciling")["message"]  # type: ignore[index]


def test_no_server_ends_for_a_product_that_no_node_has() -> None:
    """Even one that may run on any: it would be an outage for nothing."""
    told = rebuilding("Wait", product="L40")
    anywhere = replace(pod("server", waits=False), node_selector={})
    told.seen = replace(told.seen, deployments=tuple(
        replace(d, pods=(anywhere,)) for d in told.seen.deployments
    ))  # fmt: skip
    assert told.seen.spec is not None
    build = told.seen.spec.build.model_copy(update={"when_gpu_busy": "StopServing"})
    told.seen = replace(told.seen, spec=told.seen.spec.model_copy(update={"build": build}))
    told.step()
    assert replicas(told) == [1]
    told.seen = replace(told.seen, gpu_offers=offers(L4=(GPU,), L40=(GPU,)))
    told.step()
    assert replicas(told) == [0]


def test_what_nodes_offer_is_asked_where_it_matters() -> None:
    open_product = observation(spec=spec(models=[ENGINE]))
    named = observation(
        spec=spec(models=[ENGINE], serving={"targets": [{"name": "a", "gpu": {"product": "L4"}}]})
    )
    told = rebuilding("Wait")
    waiting = replace(named, jobs=told.seen.jobs)

    assert [asks_what_nodes_offer(each) for each in (open_product, named, waiting)] == [True, False, True]


def test_servers_give_way_until_the_next_ones_serve() -> None:
    told = rebuilding("StopServing")
    assert replicas(told) == [0]
    runs(told)
    for _ in range(3):
        told.step()
        assert replicas(told) == [0]
    told.end("build", result=Result())
    told.assemble(published(OTHER))
    told.step()
    assert sorted(replicas(told)) == [0, 1]
    told.verify_and_promote()
    assert told.reason == "Ready"
    assert told.last.status is not None
    assert told.last.status["revision"] == OTHER


def test_servers_come_back_where_the_build_fails() -> None:
    told = rebuilding("StopServing")
    runs(told)
    told.end("build", "failed", result=fault(Reason.INVALID_MODEL))
    told.step()
    assert condition(told.last, "Stalled") is not None
    assert replicas(told) == [1]


def test_for_a_build_that_fails_again_and_again_servers_end_no_more() -> None:
    """Each attempt would be an outage, as long as what makes it fail is there."""
    told = rebuilding("StopServing")
    for attempt, ended in ((2, True), (3, False)):
        runs(told)
        told.step(200)
        told.end("build", "failed", result=fault(Reason.STORAGE_UNAVAILABLE))
        told.step()
        assert replicas(told) == [1]
        told.seen = replace(told.seen, deployments=tuple(
            replace(d, pods=(pod("server", waits=False),)) for d in told.seen.deployments
        ))  # fmt: skip
        told.step(15)
        (job,) = [job for job in told.jobs("build") if job.state == "active"]
        assert job.annotations["ensembles.dev/attempt"] == str(attempt)
        waits(told, "build", product="L4", created=told.seen.now - timedelta(minutes=1))
        told.step()
        assert (replicas(told) == [0]) == ended
    said = condition(told.last, "Reconciling")["message"]  # type: ignore[index]
    assert "is not ended for it again, as the build has failed before" in said

    told.seen = replace(told.seen, annotations={"ensembles.dev/requestedAt": "now"})
    told.assemble(MISSING_ENGINE)
    told.step()
    assert replicas(told) == [0], "the message says so"


def test_a_build_that_is_made_anew_for_other_settings_has_not_failed() -> None:
    """Long as the one before it may have waited."""
    told = rebuilding("Wait")
    told.step(300)
    assert told.seen.spec is not None
    settings = {"when_gpu_busy": "StopServing", "priority_class_name": "urgent"}
    build = told.seen.spec.build.model_copy(update=settings)
    told.seen = replace(told.seen, spec=told.seen.spec.model_copy(update={"build": build}))
    told.step()
    told.step()
    (job,) = told.jobs("build")
    assert job.annotations["ensembles.dev/attempt"] == "2"
    told.seen = replace(told.seen, deployments=tuple(
        replace(d, pods=(pod("server", waits=False),)) for d in told.seen.deployments
    ))  # fmt: skip
    waits(told, "build", product="L4", created=told.seen.now - timedelta(minutes=1))
    told.step()
    assert replicas(told) == [0]


def down(told: Story) -> bool:
    return "the servers of target default are down for it" in condition(told.last, "Reconciling")["message"]  # type: ignore[index]


def test_while_servers_are_away_for_a_build_its_message_says_so() -> None:
    told = rebuilding("StopServing")
    runs(told)
    told.step()
    assert (told.reason, down(told)) == ("Building", True)
    waits(told, "build", product="L4", created=told.seen.now)
    told.step()
    assert (told.reason, down(told)) == ("WaitingForGPU", True)


def test_servers_come_back_where_what_is_still_built_needs_no_gpu() -> None:
    told = rebuilding("StopServing")
    runs(told)
    told.end("build", result=Result())
    told.step()
    assert (told.reason, replicas(told), down(told)) == ("Assembling", [0], True), "a moment"
    pipeline = NextBuild(kind="dali", key=OTHER, model="pre")
    told.end("assemble", result=Result(lock=LOCK, next=(pipeline,)))
    told.step()
    assert (told.reason, replicas(told)) == ("Building", [0]), "nobody knows yet what its pod asks for"
    told.step()
    assert (told.reason, replicas(told), down(told)) == ("Building", [1], False)


def test_a_job_gets_a_moment_to_have_its_pod() -> None:
    told = rebuilding("StopServing")
    runs(told)
    created_at = told.seen.now
    told.seen = replace(told.seen, jobs=tuple(
        replace(job, pods=(), created=created_at) if job.name.startswith("build") else job
        for job in told.seen.jobs
    ))  # fmt: skip
    told.step(20)
    assert replicas(told) == [0]
    assert told.last.wake == created_at + timedelta(seconds=30)
    told.step(10)
    assert replicas(told) == [1]


def test_an_autoscaler_is_away_while_its_servers_are() -> None:
    scaling = {"maxReplicas": 4, "target": {"cpuUtilizationPercent": 70}}
    told = rebuilding("StopServing", autoscaling=scaling)
    assert (replicas(told), told.seen.autoscalers) == ([0], ()), "KEDA would start them again"
    runs(told)
    told.end("build", "failed", result=fault(Reason.INVALID_MODEL))
    told.step()
    assert (replicas(told), len(told.seen.autoscalers)) == ([1], 1)


def next_servers(told: Story, **next_pod: Any) -> None:
    """The build is done; its servers were given the old ones' GPU, and look so."""
    told.end("build", result=Result())
    told.assemble(published(OTHER))
    told.step()
    seen = replace(pod("next", waits=False, created=told.seen.now), ready=False, **next_pod)
    told.seen = replace(
        told.seen,
        deployments=tuple(replace(d, pods=(seen,) if d.replicas else ()) for d in told.seen.deployments),
    )


def test_next_servers_that_cannot_start_hand_the_gpu_back_for_a_while() -> None:
    told = rebuilding("StopServing")
    runs(told)
    no_image = ContainerSeen(name="tritonserver", waiting_reason="ImagePullBackOff")
    next_servers(told, phase="Pending", containers=(no_image,))
    old, new = (d.name for d in sorted(told.seen.deployments, key=lambda d: d.replicas))

    def servers() -> dict[str, int]:
        return {d.name: d.replicas for d in told.seen.deployments}

    for _ in range(2):
        told.step()
        assert told.reason == "ImageUnavailable"
        assert servers() == {old: 0, new: 1}, "it may pass"
    told.step(121)
    assert servers() == {old: 1, new: 0}
    told.seen = replace(told.seen, deployments=tuple(replace(d, pods=()) for d in told.seen.deployments))
    for _ in range(3):
        told.step(60)
        assert told.reason == "ImageUnavailable"
        assert servers() == {old: 1, new: 0}
        assert told.last.wake is not None
    told.step(600)
    assert servers() == {old: 1, new: 1}, "tried again"


def test_servers_end_only_after_a_while() -> None:
    told = rebuilding("StopServing", waited=timedelta(seconds=5))
    assert replicas(told) == [1]
    assert told.last.wake is not None
    told.step((told.last.wake - told.seen.now).total_seconds())
    assert replicas(told) == [0]


def test_only_the_target_whose_gpu_is_waited_for_ends() -> None:
    targets = [{"name": name, "gpu": {"product": name.upper()}} for name in ("l4", "a100")]
    told = rebuilding("StopServing", serving={"targets": targets})
    ended = {d.labels["ensembles.dev/target"]: d.replicas for d in told.seen.deployments}
    assert ended == {"l4": 0, "a100": 1}


@pytest.mark.parametrize(("template", "named"), [("small", True), ("large", False)])
def test_claims_of_another_template_are_another_gpu(template: str, *, named: bool) -> None:
    def claiming(seen: PodSeen, *, of: str) -> PodSeen:
        message = "cannot allocate all claims" if seen.unscheduled_message else ""
        return replace(
            seen,
            devices=("claims",),
            claim_templates=(of,),
            node_selector={},
            unscheduled_message=message,
        )

    told = rebuilding("Wait")
    told.seen = replace(
        told.seen,
        deployments=tuple(
            replace(d, pods=tuple(claiming(p, of=template) for p in d.pods)) for d in told.seen.deployments
        ),
        jobs=tuple(replace(j, pods=tuple(claiming(p, of="small") for p in j.pods)) for j in told.seen.jobs),
    )
    told.step()
    assert told.reason == "WaitingForGPU"
    assert ("own server" in condition(told.last, "Reconciling")["message"]) == named  # type: ignore[index]


def test_new_servers_that_find_no_gpu_are_given_the_old_ones_place() -> None:
    told = rebuilding("StopServing")
    told.end("build", result=Result())  # the GPU was free for the build alone
    told.seen = replace(told.seen, deployments=tuple(
        replace(d, replicas=1, pods=(pod("server", waits=False),)) for d in told.seen.deployments
    ))  # fmt: skip
    told.assemble(published(OTHER))
    told.step()
    told.seen = replace(told.seen, deployments=tuple(
        d if d.pods else replace(d, pods=(pod("next", waits=True),)) for d in told.seen.deployments
    ))  # fmt: skip
    told.step()
    assert sorted(replicas(told)) == [0, 1]
