"""Which GPU an engine is built for, and what happens where the ensemble's own servers hold it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ensemble_operator.plan.observation import GpuOffer
from ensembles_api.contract import NextBuild, Result
from tests.unit.plan.story import Story
from tests.unit.plan.world import KEY, LOCK, condition, created, published

GPU, MIG = "nvidia.com/gpu", "nvidia.com/mig-1g.5gb"
OTHER = "4" * 64
ENGINE: dict[str, Any] = {"name": "net", "tensorrt": {"source": {"uri": "s3://models/net.onnx"}}}
MISSING_ENGINE = Result(
    lock=LOCK, next=(NextBuild(kind="tensorrt", key=KEY, model="net", target="default", gpu=True),)
)
PIPELINE: dict[str, Any] = {"name": "pre", "dali": {"source": {"inline": "…"}}}
PROOF_ON_GPU = NextBuild(kind="dali", key=KEY, proof=OTHER, model="pre", gpu=True)
SELECTOR = "nvidia.com/gpu.product"


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
    told.assemble(published())
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


def test_proofs_of_one_pipeline_run_on_the_gpu_of_their_target() -> None:
    targets = [{"name": name, "gpu": {"product": name.upper()}} for name in ("l4", "a100")]
    told = story(None, models=[PIPELINE], serving={"targets": targets})
    orders = [
        PROOF_ON_GPU.model_copy(update={"proof": proof, "target": target["name"]})
        for proof, target in zip(("5" * 64, "6" * 64), targets, strict=True)
    ]
    told.end("assemble", result=Result(lock=LOCK, next=tuple(orders)))
    told.step()
    pods = [job["spec"]["template"]["spec"] for job in created(told.last, "Job")]
    assert [pod["nodeSelector"] for pod in pods] == [{SELECTOR: "L4"}, {SELECTOR: "A100"}]

    told.end("build", result=Result())
    told.step()
    assert told.reason == "Building"
    told.end("build", result=Result())
    told.step()
    assert told.reason == "Assembling"


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


@pytest.mark.parametrize(
    "targets", [[{"name": "cpu"}], [{"name": "l4", "gpu": {"product": "L4"}}, {"name": "cpu"}]]
)
def test_an_engine_is_refused_where_a_target_is_a_cpu(targets: list[dict[str, Any]]) -> None:
    told = story(offers(L4=(GPU,)), serving={"targets": targets})

    stalled = condition(told.last, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "InvalidSpec"
    assert stalled["message"].startswith(f"spec.serving.targets[{len(targets) - 1}].gpu: target 'cpu' ")
    assert "('net')" in stalled["message"]
    assert told.seen.jobs == ()
    told.change(models=[ENGINE], serving={"targets": [{"name": "cpu", "gpu": {"product": "L4"}}]})
    told.step()
    assert told.reason == "Assembling"


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


def test_a_node_whose_gpus_are_all_slices_offers_no_whole_one() -> None:
    """Its capacity goes on naming the resource, with 0."""
    sliced = GpuOffer("A100", frozenset({MIG}), none_left=frozenset({GPU}))
    told = story(frozenset({GpuOffer("L4", frozenset({GPU})), sliced}))
    assert asked_for(told)[0]["gpu"] == {"product": "L4"}
    alone = story(frozenset({sliced}))
    assert asked_for(alone)[0]["gpu"] == {"product": "A100"}, "its device plugin may be away for a moment"


def test_a_type_of_which_no_gpu_is_left_stays_chosen() -> None:
    told = story(offers(L4=(GPU,)))
    told.end("assemble", result=published())
    told.step()
    told.verify_and_promote()
    away = GpuOffer("L4", frozenset(), none_left=frozenset({GPU}))
    told.seen = replace(told.seen, gpu_offers=frozenset({away, *offers(A100=(GPU,))}))
    told.step()
    assert told.reason == "Ready"
    assert told.last.actions == ()


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
