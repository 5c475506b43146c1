"""A pipeline's proof: asked for once it is known whether it needs a GPU, and no reason to build again."""

from __future__ import annotations

import pytest

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import sha256
from ensemble_builder.commands import compile as compiling
from ensemble_builder.compilers.dali.media import png
from ensembles_api.contract import (
    BuildOrder,
    CompileResult,
    NextBuild,
    Proof,
    ProofRecord,
    Request,
    Result,
    TargetRequest,
)
from ensembles_api.reasons import Reason
from ensembles_api.spec import Gpu
from tests.storage.support.workbench import Workbench

pytestmark = pytest.mark.s3
FLEET = (
    TargetRequest(name="l4", gpu=Gpu(product="NVIDIA-L4")),
    TargetRequest(name="l4-shared", gpu=Gpu(product="NVIDIA-L4-SHARED", count=2)),
    TargetRequest(name="h200", gpu=Gpu(product="NVIDIA-H200")),
    TargetRequest(name="mig", gpu=Gpu(product="NVIDIA-H200", resource_name="nvidia.com/mig-1g.18gb")),
    TargetRequest(name="cpu"),
)
PIPELINE = """
from nvidia.dali import fn, pipeline_def, types


@pipeline_def
def pipe():
    image = fn.decoders.image(fn.external_source(name="ENCODED", dtype=types.UINT8, ndim=1))
    return fn.resize(image, size=[8, 8])
"""


def request(bench: Workbench, *photos: bytes, pipeline: str = PIPELINE) -> Request:
    uris = [bench.put(f"{sha256(photo)}.png", photo) for photo in photos]
    samples = [{"inputs": [{"name": "ENCODED", "source": {"uri": uri}}]} for uri in uris]
    dali = {"source": {"inline": pipeline}, "verification": {"samples": samples}}
    return bench.request({"name": "pre", "maxBatchSize": 4, "dali": dali})


def only(ordered: Result) -> NextBuild:
    assert ordered.fault is None
    (build,) = ordered.next
    return build


def done(bench: Workbench, ordered: Result) -> Result:
    """The build Job that a round asked for; what upload says of it."""
    build = only(ordered)
    work = bench.folder / f"work-{build.key[:8]}-{build.proof[:8]}"
    of_order = ["--lock", ordered.lock, "--key", build.key, "--proof", build.proof]
    options = [*bench.storage, *of_order, "--work", str(work)]
    assert bench.run("fetch", "build", *options).fault is None
    assert (work / "built").exists() is bool(build.proof)
    compiling.run(work)
    return bench.run("upload", *options)


def proofs(bench: Workbench) -> list[str]:
    return sorted(info.key for info in bench.store.root.list(bench.store.key("proofs/")))


def test_compiled_then_proven_then_published(bench: Workbench) -> None:
    wanted = request(bench, png(40, 30))
    first = bench.assemble(wanted)
    assert (only(first).proof, only(first).gpu, first.more) == ("", False, 1)
    assert done(bench, first).fault is None

    second = bench.assemble(wanted, "--lock", first.lock, "--built", only(first).key)
    assert (only(second).key, only(second).gpu, second.more) == (only(first).key, False, 0)
    assert only(second).proof
    assert done(bench, second).fault is None

    published = bench.assemble(wanted, "--lock", first.lock, "--built", only(first).key)
    assert bench.published(published)["models/pre/1/model.dali"]
    data = bench.store.root.get(bench.store.key(layout.proof(only(second).key, only(second).proof)))
    record = ProofRecord.model_validate_json(data or b"")
    assert record.proof.verdict == "Passed"
    assert [run["batch"] for run in record.proof.report["runs"]] == [1, 4]

    others = request(bench, png(31, 53))
    again = bench.assemble(others)
    assert only(again).key == only(first).key
    assert only(again).proof not in {"", only(second).proof}, "only proven, on the other samples"
    assert done(bench, again).fault is None
    assert bench.assemble(others, "--lock", again.lock).revision == published.revision


def test_what_fails_is_not_published(bench: Workbench) -> None:
    wanted = request(bench, png(40, 30), b"no picture at all")
    first = bench.assemble(wanted)
    done(bench, first)
    second = bench.assemble(wanted, "--lock", first.lock)

    fault = done(bench, second).fault

    assert fault is not None
    assert fault.code is Reason.INVALID_PIPELINE
    assert fault.field == "spec.models[0].dali.verification.samples[1]"
    assert proofs(bench) == []
    assert bench.assemble(wanted, "--lock", first.lock).revision == ""


def test_gpu_operators_ask_for_a_gpu_when_they_are_proven(bench: Workbench) -> None:
    on_gpu = PIPELINE.replace("ndim=1))", 'ndim=1), device="mixed")')
    wanted = request(bench, png(40, 30), pipeline=on_gpu)
    first = bench.assemble(wanted)
    assert not only(first).gpu, "a pipeline is compiled without one"
    assert done(bench, first).fault is None

    second = bench.assemble(wanted, "--lock", first.lock)

    assert only(second).gpu
    assert only(second).target is None, "any target's GPU will do"


def test_gpu_operators_are_proven_on_every_type_of_gpu_that_serves_them(bench: Workbench) -> None:
    on_gpu = PIPELINE.replace("ndim=1))", 'ndim=1), device="mixed")')
    wanted = request(bench, png(40, 30), pipeline=on_gpu).model_copy(update={"targets": FLEET})
    first = bench.assemble(wanted)
    assert only(first).target is None, "one artifact for all"
    assert done(bench, first).fault is None
    second = bench.assemble(wanted, "--lock", first.lock)
    assert [(build.target, build.gpu) for build in second.next] == [
        ("l4", True),
        ("h200", True),
        ("mig", True),
    ]
    assert {build.key for build in second.next} == {only(first).key}
    assert len({build.proof for build in second.next}) == 3

    for left, build in enumerate(reversed(second.next)):
        work = bench.folder / f"work-{build.proof}"
        options = [*bench.storage, "--lock", first.lock, "--key", build.key, "--proof", build.proof]
        assert bench.run("fetch", "build", *options, "--work", str(work)).fault is None
        order = BuildOrder.model_validate_json((work / "order.json").read_bytes())
        product = {"l4": "NVIDIA-L4", "h200": "NVIDIA-H200", "mig": "NVIDIA-H200-MIG-1g.18gb"}[
            build.target or ""
        ]
        assert order.gpu_product == product, "another GPU is refused"
        proof = Proof(verdict="Passed", summary=f"as if on {product}")
        (work / "out/result.json").write_bytes(CompileResult(proof=proof).canonical())
        assert bench.run("upload", *options, "--work", str(work)).fault is None
        asked = bench.assemble(wanted, "--lock", first.lock)
        assert len(asked.next) == 2 - left
    assert asked.revision

    fewer = wanted.model_copy(update={"targets": FLEET[1:2]})
    assert bench.assemble(fewer).revision, "time-sliced GPUs are the same chip, and proven"


def test_cpu_operators_are_proven_once(bench: Workbench) -> None:
    wanted = request(bench, png(40, 30)).model_copy(update={"targets": FLEET})
    first = bench.assemble(wanted)
    assert done(bench, first).fault is None
    second = bench.assemble(wanted, "--lock", first.lock)
    assert (only(second).target, only(second).gpu) == (None, False)


def test_models_that_differ_in_their_proof_alone_are_compiled_once(bench: Workbench) -> None:
    wanted = request(bench, png(40, 30))
    (one,) = wanted.models
    assert one.dali is not None
    unproven = one.dali.model_copy(update={"verification": None})
    both = wanted.model_copy(
        update={"models": (one, one.model_copy(update={"name": "other", "dali": unproven}))}
    )
    first = bench.assemble(both)
    assert (only(first).proof, first.more) == ("", 1)
    done(bench, first)

    assert only(bench.assemble(both, "--lock", first.lock)).proof
