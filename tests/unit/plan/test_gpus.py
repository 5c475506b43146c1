"""Which GPU an engine is built for, and what happens where the ensemble's own servers hold it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ensemble_operator.plan.actions import Scale
from ensemble_operator.plan.observation import ContainerSeen, DeploymentSeen, GpuOffer, PodSeen
from ensembles_api.contract import NextBuild, Result
from ensembles_api.reasons import Reason
from tests.unit.plan.story import Story
from tests.unit.plan.world import KEY, LOCK, T0, condition, created, fault, of_type, published

GPU, MIG = "nvidia.com/gpu", "nvidia.com/mig-1g.5gb"
OTHER = "4" * 64
ENGINE: dict[str, Any] = {"name": "net", "tensorrt": {"source": {"uri": "s3://models/net.onnx"}}}
MISSING_ENGINE = Result(
    lock=LOCK, next=(NextBuild(kind="tensorrt", key=KEY, model="net", target="default", gpu=True),)
)
PIPELINE: dict[str, Any] = {"name": "pre", "dali": {"source": {"inline": "…"}}}
PROOF_ON_GPU = NextBuild(kind="dali", key=KEY, proof=OTHER, model="pre", gpu=True)
SELECTOR = "nvidia.com/gpu.product"
LONG_AGO = T0 - timedelta(minutes=1)


def offers(**products: tuple[str, ...]) -> frozenset[GpuOffer]:
    return frozenset(GpuOffer(product, frozenset(resources)) for product, resources in products.items())


def story(found: frozenset[GpuOffer] | None, **spec: Any) -> Story:
    told = Story(gpu_offers=found)
    told.change(**{"models": [ENGINE], **spec})
    told.step()
    return told


def asked_for(told: Story) -> list[dict[str, Any]]:
    (request,) = told.seen.requests
    targets: list[dict[str, Any]] = json.loads(request.manifest["data"]["request.json"])["targets"]
    return targets


def test_the_only_gpu_type_need_not_be_named() -> None:
    told = story(offers(L4=(GPU,)))
    assert [target["gpu"]["product"] for target in asked_for(told)] == ["L4"]
    told.end("assemble", result=MISSING_ENGINE)
    told.step()
    (build,) = created(told.last, "Job")
    assert build["spec"]["template"]["spec"]["nodeSelector"] == {SELECTOR: "L4"}
    told.end("build", result=Result())
    told.step()
    told.end("assemble", result=published())
    told.step()
    told.step()
    (servers,) = told.seen.deployments
    assert servers.manifest["spec"]["template"]["spec"]["nodeSelector"] == {SELECTOR: "L4"}


def test_a_pipeline_is_compiled_without_a_gpu_and_proven_with_a_targets() -> None:
    targets = [{"name": "cpu"}, {"name": "l4", "gpu": {"product": "L4", "count": 2}}]
    told = story(None, models=[PIPELINE], serving={"targets": targets})
    compiled = NextBuild(kind="dali", key=KEY, model="pre")
    pods = []
    for build in (compiled, PROOF_ON_GPU):
        told.end("assemble", result=Result(lock=LOCK, next=(build,), more=int(build is compiled)))
        told.step()
        (job,) = created(told.last, "Job")
        pods.append(job["spec"]["template"]["spec"])
        told.end("build", result=Result())
        told.step()

    assert [pod.get("nodeSelector") for pod in pods] == [None, {SELECTOR: "L4"}]
    limits = [pod["initContainers"][1]["resources"].get("limits", {}) for pod in pods]
    assert [limit.get(GPU) for limit in limits] == [None, "1"]
    told.end("assemble", result=published())
    told.step()
    assert told.reason != "Building"


def proving(*targets: dict[str, Any]) -> Story:
    """A pipeline that was found to have GPU operators, to be proven by a Job of its own."""
    told = story(None, models=[PIPELINE], serving={"targets": list(targets)})
    told.end("assemble", result=Result(lock=LOCK, next=(PROOF_ON_GPU,)))
    told.step()
    return told


def test_gpu_operators_are_refused_where_every_stated_target_is_a_cpu() -> None:
    told = proving({"name": "cpu"}, {"name": "arm"})

    assert told.jobs("build") == []
    stalled = condition(told.last, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "InvalidSpec"
    assert stalled["message"].startswith(
        "spec.serving.targets: the pipeline of model 'pre' has GPU operators"
    )
    targets = [{"name": "cpu"}, {"name": "l4", "gpu": {"product": "L4"}}]
    told.change(models=[PIPELINE], serving={"targets": targets})
    told.step()
    assert told.reason == "Assembling"
    assert condition(told.last, "Stalled") is None


def test_a_proof_that_waits_for_a_gpu_no_target_has_is_ended() -> None:
    """An operator before this one began it."""
    told = proving()
    (job,) = told.jobs("build")
    # By this name the builder is asked for the very same.
    told.change(models=[PIPELINE], serving={"targets": [{"name": "default"}]})
    told.step()

    assert told.reason == "InvalidSpec"
    assert job.name not in [job.name for job in told.jobs("build")]


def test_gpu_operators_get_a_gpu_where_no_targets_are_stated() -> None:
    told = proving()

    (job,) = told.jobs("build")
    assert condition(told.last, "Stalled") is None
    assert job.annotations["ensembles.dev/key"] == KEY


@pytest.mark.parametrize("targets", [[], [{"name": "a", "gpu": {}}]])
def test_of_several_types_one_must_be_named(targets: list[dict[str, Any]]) -> None:
    told = story(offers(L4=(GPU,), A100=(GPU,)), serving={"targets": targets})
    stalled = condition(told.last, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "GPUAmbiguous"
    assert "A100, L4" in stalled["message"]
    assert stalled["message"].startswith("spec.serving.targets")
    assert told.seen.jobs == ()
    told.change(models=[ENGINE], serving={"targets": [{"name": "a", "gpu": {"product": "A100"}}]})
    told.step()
    assert told.reason == "Assembling"


@pytest.mark.parametrize("found", [None, frozenset()])
def test_where_no_type_can_be_found_it_is_asked_for(found: frozenset[GpuOffer] | None) -> None:
    told = story(found)
    assert condition(told.last, "Reconciling")["reason"] == "GPUUnknown"  # type: ignore[index]
    assert told.last.wake is not None
    told.step(121)
    assert condition(told.last, "Stalled")["reason"] == "GPUUnknown"  # type: ignore[index]
    told.seen = replace(told.seen, gpu_offers=offers(L4=(GPU,)))
    told.step()
    assert told.reason == "Assembling"


def test_a_mig_profile_is_looked_for_among_the_nodes_that_have_it() -> None:
    targets = [{"name": "slice", "gpu": {"resourceName": MIG}}]
    told = story(offers(L4=(GPU,), A100=(GPU, MIG)), serving={"targets": targets})
    assert asked_for(told)[0]["gpu"] == {"product": "A100", "resource_name": MIG}


def test_a_second_gpu_type_that_joins_stops_nothing() -> None:
    told = story(offers(L4=(GPU,)))
    told.end("assemble", result=published())
    told.step()
    told.verify_and_promote()
    assert told.reason == "Ready"
    for joined in (offers(L4=(GPU,), A100=(GPU,)), frozenset(), None):
        told.seen = replace(told.seen, gpu_offers=joined)
        told.step()
        assert told.reason == "Ready"
        assert told.last.actions == ()
    told.seen = replace(told.seen, gpu_offers=offers(A100=(GPU,)))
    told.step()
    assert told.reason == "Assembling", "what it was built for is gone for good"


def test_a_second_gpu_type_that_joins_stops_no_first_build() -> None:
    told = story(offers(L4=(GPU,)))
    told.seen = replace(told.seen, gpu_offers=offers(L4=(GPU,), A100=(GPU,)))
    told.step()
    assert told.reason == "Assembling"
    assert [target["gpu"]["product"] for target in asked_for(told)] == ["L4"]


def test_models_without_engine_run_on_any_gpu() -> None:
    model = {"name": "net", "python": {"source": {"inline": "x"}}, "config": {"instance_group": [
        {"kind": "KIND_GPU"}]}}  # fmt: skip
    told = story(None, models=[model])
    assert asked_for(told) == [{"name": "default", "gpu": {}}]


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
    told.step()
    told.end("assemble", result=published())
    told.step()
    told.verify_and_promote()
    told.seen = replace(told.seen, deployments=tuple(
        replace(d, pods=(pod("server", waits=False, product=_product(d)),)) for d in told.seen.deployments
    ))  # fmt: skip
    changed = {"name": "net", "tensorrt": {"source": {"uri": "s3://models/other.onnx"}}}
    told.change(models=[changed], **spec)
    told.step()
    told.end("assemble", result=MISSING_ENGINE)
    told.step()
    waits(told, "build", product=product, created=told.seen.now - waited)
    told.step()
    return told


def _product(servers: DeploymentSeen) -> str:
    return str(servers.manifest["spec"]["template"]["spec"]["nodeSelector"][SELECTOR])


def waits(told: Story, role: str, *, product: str, created: datetime) -> None:
    told.seen = replace(told.seen, jobs=tuple(
        replace(job, pods=(pod(role, waits=True, product=product, created=created),))
        if job.labels["ensembles.dev/role"] == role and job.state == "active"
        else job
        for job in told.seen.jobs
    ))  # fmt: skip


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


def test_servers_give_way_until_the_next_ones_serve() -> None:
    told = rebuilding("StopServing")
    assert replicas(told) == [0]
    runs(told)
    for _ in range(3):
        told.step()
        assert replicas(told) == [0]
    told.end("build", result=Result())
    told.step()
    told.end("assemble", result=published(OTHER))
    told.step()
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
    told.step()
    told.end("assemble", result=published(OTHER))
    told.step()
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
    told.step()
    told.end("assemble", result=published(OTHER))
    told.step()
    told.step()
    told.seen = replace(told.seen, deployments=tuple(
        d if d.pods else replace(d, pods=(pod("next", waits=True),)) for d in told.seen.deployments
    ))  # fmt: skip
    told.step()
    assert sorted(replicas(told)) == [0, 1]
