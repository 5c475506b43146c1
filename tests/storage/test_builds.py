"""Builds: order → fetch → compile → upload → publish, and what user code may leave behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import sha256
from ensembles_api.contract import (
    ArtifactRecord,
    BuildOrder,
    CompileResult,
    Fault,
    ModelIO,
    NextBuild,
    Proof,
    Result,
    SampleRequest,
    SampleTensor,
    TargetRequest,
    Tensor,
)
from ensembles_api.reasons import Reason
from ensembles_api.spec import Gpu
from ensembles_api.verification import VerificationPlan
from tests.storage.support.s3server import Server
from tests.storage.support.workbench import Workbench, onnx_model

pytestmark = pytest.mark.s3
PIPELINE = """
from nvidia.dali import fn, pipeline_def, types


@pipeline_def
def pipe():
    image = fn.decoders.image(fn.external_source(name="ENCODED", dtype=types.UINT8, ndim=1), device="mixed")
    image = fn.crop_mirror_normalize(fn.resize(image, size=[1, 1]), dtype=types.FLOAT, output_layout="CHW")
    return fn.reshape(image, shape=[3])
"""
SAMPLE = SampleTensor(name="ENCODED", data_type="TYPE_UINT8", shape=(1, 4), file="samples/0-0.bin")
IO = ModelIO(
    batchable=True,
    inputs=(Tensor(name="ENCODED", data_type="TYPE_UINT8", shape=(-1,)),),
    outputs=(Tensor(name="DALI_OUTPUT_0", data_type="TYPE_FP32", shape=(3,)),),
    max_batch_size=8,
)


def models(bench: Workbench) -> list[dict[str, Any]]:
    return [
        {"name": "pre", "maxBatchSize": 8, "dali": {"source": {"inline": PIPELINE}}},
        {"name": "relu", "onnxruntime": {"source": {"uri": bench.put("net.onnx", onnx_model())}}},
        {"name": "all", "ensemble": {"chain": ["pre", "relu"]}},
    ]


def options(bench: Workbench, result: Result, build: NextBuild) -> list[str]:
    work = bench.folder / f"work-{build.key[:8]}"
    of_order = ["--lock", result.lock, "--key", build.key, "--proof", build.proof]
    return [*bench.storage, *of_order, "--work", str(work)]


def fetch(bench: Workbench, result: Result) -> tuple[list[str], Path, BuildOrder]:
    """Fetch the first build that was asked for: its options, folder and order."""
    build = result.next[0]
    given = options(bench, result, build)
    assert bench.run("fetch", "build", *given).fault is None
    work = Path(given[-1])
    return given, work, BuildOrder.model_validate_json((work / "order.json").read_bytes())


def leave(work: Path, **changes: Any) -> None:
    """Leave in out/ what a compiler would."""
    out = work / "out"
    (out / "samples").mkdir(exist_ok=True)
    (out / "model.dali").write_bytes(b"pipeline")
    (out / "samples/0-0.bin").write_bytes(b"\x89PNG")
    result = {"files": ("model.dali",), "io": IO, "samples": (SampleRequest(inputs=(SAMPLE,)),), **changes}
    (out / "result.json").write_bytes(CompileResult(**result).canonical())


def fault(result: Result) -> Fault:
    assert result.fault is not None
    return result.fault


def test_a_real_pipeline_goes_all_the_way(bench: Workbench) -> None:
    from ensemble_builder.commands import compile as compiling  # noqa: PLC0415 - needs DALI

    request = bench.request(*models(bench))
    ordered = bench.assemble(request)
    assert [build.kind for build in ordered.next] == ["dali"]
    assert ordered.revision == ""
    given, work, order = fetch(bench, ordered)
    assert (work / "in/pipeline.py").read_text() == PIPELINE
    assert order.parameters["max_batch_size"] == 8
    assert compiling.run(work).fault is None
    assert bench.run("upload", *given).fault is None
    done = bench.assemble(request, "--lock", ordered.lock, "--built", order.key)
    files = bench.published(done)
    assert files["models/pre/1/model.dali"] == (work / "out/model.dali").read_bytes()
    config = files["models/all/config.pbtxt"].decode()
    assert 'name: "ENCODED"' in config
    assert done.cached == 1
    (found,) = done.found
    assert (found.key, found.model) == (order.key[:12], "pre")
    assert found.seconds > 0, "the compiler says how long it took"
    assert done.saved_gpu_seconds == 0, "a pipeline needs no GPU to be built"
    cases = VerificationPlan.model_validate_json(files["verification/cases.json"]).cases
    of_ensemble = next(case for case in cases if case.model == "all")
    assert not of_ensemble.guessed
    assert files[f"verification/{of_ensemble.inputs[0].file}"].startswith(b"\x89PNG")


def test_plugins_are_published_beside_the_models(bench: Workbench) -> None:
    custom = models(bench)
    custom[0]["dali"]["plugins"] = [{"uri": bench.put("lib/mine.so", b"\x7fELF")}]
    request = bench.request(*custom)
    ordered = bench.assemble(request)
    given, work, _ = fetch(bench, ordered)
    assert (work / "in/plugins/mine.so").read_bytes() == b"\x7fELF"
    leave(work)
    bench.run("upload", *given)
    done = bench.assemble(request, "--lock", ordered.lock)
    assert done.server is not None
    assert done.server.plugins == {"dali": ("plugins/mine.so",)}
    assert bench.published(done)["plugins/mine.so"] == b"\x7fELF"


def test_another_ensemble_uses_what_was_built(bench: Workbench) -> None:
    ordered = bench.assemble(bench.request(*models(bench)))
    given, work, _ = fetch(bench, ordered)
    leave(work)
    bench.run("upload", *given)
    other = Workbench(bench.store, bench.folder, name="other")
    result = other.assemble(other.request(*models(bench)))
    assert (result.next, result.cached) == ((), 1)
    assert other.published(result)["models/pre/1/model.dali"] == b"pipeline"


def test_wiring_is_refused_before_anything_is_built(bench: Workbench) -> None:
    broken = models(bench)
    broken[2] = {
        "name": "all",
        "ensemble": {
            "steps": [
                {
                    "model": "relu",
                    "inputs": [{"name": "nonsense", "from": "a"}],
                    "outputs": [{"name": "y", "to": "b"}],
                }
            ]
        },
    }
    refused = bench.assemble(bench.request(*broken))
    assert fault(refused).code is Reason.INVALID_WIRING
    assert refused.next == ()
    assert refused.lock == ""


def test_the_compilers_fault_becomes_the_result(bench: Workbench) -> None:
    ordered = bench.assemble(bench.request(*models(bench)))
    given, work, order = fetch(bench, ordered)
    said = Fault(code=Reason.INVALID_PIPELINE, field=order.field, message="line 3 is wrong")
    (work / "out/result.json").write_bytes(CompileResult(fault=said).canonical())
    assert bench.run("upload", *given).fault == said


def test_an_artifact_that_vanished_is_not_built_again(bench: Workbench) -> None:
    request = bench.request(*models(bench))
    ordered = bench.assemble(request)
    again = bench.assemble(request, "--lock", ordered.lock, "--built", ordered.next[0].key)
    assert fault(again).code is Reason.ARTIFACT_VANISHED
    assert again.next == ()


def test_an_artifact_whose_blob_is_gone_is_built_again(bench: Workbench, server: Server) -> None:
    """The second build may give other bytes: its record then takes the place of the first."""
    request = bench.request(*models(bench))
    ordered = bench.assemble(request)
    given, work, order = fetch(bench, ordered)
    leave(work)
    bench.run("upload", *given)
    server.object("models", bench.store.key(layout.blob(sha256(b"pipeline")))).unlink()
    assert [build.key for build in bench.assemble(request).next] == [order.key]
    leave(work)
    (work / "out/model.dali").write_bytes(b"other bytes, equally good")
    bench.run("upload", *given)
    assert bench.published(bench.assemble(request))["models/pre/1/model.dali"] == b"other bytes, equally good"


def test_the_first_of_two_builds_stays(bench: Workbench) -> None:
    request = bench.request(*models(bench))
    ordered = bench.assemble(request)
    given, work, order = fetch(bench, ordered)
    leave(work)
    bench.run("upload", *given)
    (work / "out/model.dali").write_bytes(b"other bytes, equally good")
    assert bench.run("upload", *given).fault is None
    data = bench.store.root.get(bench.store.key(layout.artifact("dali", order.key)))
    assert data is not None
    assert ArtifactRecord.model_validate_json(data).files[0].sha256 == sha256(b"pipeline")


@pytest.mark.parametrize(
    "change", [lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: data + b"x"], ids=["bit", "longer"]
)
def test_a_blob_that_went_bad_is_noticed(bench: Workbench, server: Server, change: Any) -> None:
    request = bench.request(*models(bench))
    ordered = bench.assemble(request)
    given, work, order = fetch(bench, ordered)
    leave(work)
    bench.run("upload", *given)
    blob = server.object("models", bench.store.key(layout.blob(sha256(b"pipeline"))))
    blob.write_bytes(change(b"pipeline"))
    result = bench.assemble(request)
    if result.next:
        assert result.next[0].key == order.key, "an artifact of another size is built again"
        return
    to = ["--target", "default", "--to", str(bench.folder / "to")]
    fetched = bench.run(
        "fetch", "revision", *bench.storage, *bench.ensemble, "--revision", result.revision, *to
    )
    assert fault(fetched).code is Reason.STORAGE_CORRUPT
    assert "model.dali" in fault(fetched).message
    assert not (bench.folder / "to/models/pre/1/model.dali").exists()


def test_a_changed_manifest_is_not_believed(bench: Workbench, server: Server) -> None:
    result = bench.assemble(bench.request(models(bench)[1]))
    key = bench.store.key(layout.manifest("demo", "vision", result.revision))
    path = server.object("models", key)
    path.write_bytes(path.read_bytes().replace(b"relu", b"evil"))
    to = ["--target", "default", "--to", str(bench.folder / "to")]
    fetched = bench.run(
        "fetch", "revision", *bench.storage, *bench.ensemble, "--revision", result.revision, *to
    )
    assert fault(fetched).code is Reason.STORAGE_CORRUPT


def link(work: Path) -> None:
    (work / "out/model.dali").unlink()
    (work / "out/model.dali").symlink_to("/etc/passwd")


def linked_folder(work: Path) -> None:
    (work / "out/samples/0-0.bin").unlink()
    (work / "out/samples").rmdir()
    (work / "out/samples").symlink_to("/etc")


def linked_result(work: Path) -> None:
    (work / "elsewhere.json").write_bytes((work / "out/result.json").read_bytes())
    (work / "out/result.json").unlink()
    (work / "out/result.json").symlink_to(work / "elsewhere.json")


def pipe(work: Path) -> None:
    (work / "out/model.dali").unlink()
    os.mkfifo(work / "out/model.dali")


def folder(work: Path) -> None:
    (work / "out/model.dali").unlink()
    (work / "out/model.dali").mkdir()


def absent(work: Path) -> None:
    (work / "out/model.dali").unlink()


def huge_result(work: Path) -> None:
    with (work / "out/result.json").open("r+b") as file:
        file.truncate(5 << 20)


def no_result(work: Path) -> None:
    (work / "out/result.json").unlink()


@pytest.mark.parametrize(
    "spoil", [link, linked_folder, linked_result, pipe, folder, absent, huge_result, no_result]
)
def test_upload_opens_nothing_but_plain_files_in_out(bench: Workbench, spoil: Any) -> None:
    given, work, order = fetch(bench, bench.assemble(bench.request(*models(bench))))
    leave(work)
    if spoil is linked_folder:
        leave(work, samples=(SampleRequest(inputs=(SAMPLE.model_copy(update={"file": "samples/passwd"}),)),))
    spoil(work)
    assert fault(bench.run("upload", *given)).code is Reason.COMPILE_FAILED
    assert bench.store.root.head(bench.store.key(layout.artifact("dali", order.key))) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"files": ("../order.json",)},
        {"files": ("/etc/passwd",)},
        {"files": ("model.dali", "samples/0-0.bin")},
        {"files": ()},
        {"io": None},
        {"samples": (SampleRequest(inputs=(SAMPLE.model_copy(update={"file": "../order.json"}),)),)},
    ],
)
def test_upload_believes_no_other_names(bench: Workbench, changes: dict[str, Any]) -> None:
    given, work, order = fetch(bench, bench.assemble(bench.request(*models(bench))))
    leave(work, **changes)
    assert fault(bench.run("upload", *given)).code is Reason.COMPILE_FAILED
    assert bench.store.root.head(bench.store.key(layout.artifact("dali", order.key))) is None


def test_a_result_of_another_contract_is_refused(bench: Workbench) -> None:
    given, work, _ = fetch(bench, bench.assemble(bench.request(*models(bench))))
    (work / "out/result.json").write_text(json.dumps({"contract": 1, "surprise": True}))
    assert fault(bench.run("upload", *given)).code is Reason.COMPILE_FAILED


def test_engines_are_ordered_per_target_after_the_pipelines(bench: Workbench) -> None:
    engines = models(bench)
    engines[1] = {"name": "relu", "tensorrt": engines[1]["onnxruntime"], "maxBatchSize": 8}
    targets = (
        TargetRequest(name="l4", gpu=Gpu(product="NVIDIA-L4")),
        TargetRequest(name="l4-shared", gpu=Gpu(product="NVIDIA-L4-SHARED")),
        TargetRequest(name="h200", gpu=Gpu(product="NVIDIA-H200")),
    )
    request = bench.request(*engines, targets=targets)
    first = bench.assemble(request)
    assert [build.kind for build in first.next] == ["dali"]
    given, work, _ = fetch(bench, first)
    leave(work)
    bench.run("upload", *given)
    second = bench.assemble(request, "--lock", first.lock, "--built", first.next[0].key)
    assert [(build.kind, build.target, build.gpu) for build in second.next] == [
        ("tensorrt", "l4", True),
        ("tensorrt", "h200", True),
    ], "one GPU type is one engine"
    for build in second.next:
        options_of = options(bench, second, build)
        bench.run("fetch", "build", *options_of)
        out = Path(options_of[-1]) / "out"
        (out / "model.plan").write_bytes(build.key.encode())
        io = ModelIO(
            batchable=True,
            inputs=(Tensor(name="x", data_type="TYPE_FP32", shape=(3,)),),
            outputs=(Tensor(name="y", data_type="TYPE_FP32", shape=(3,)),),
            max_batch_size=8,
        )
        proof = Proof(verdict="Passed", summary="verified")
        engine = CompileResult(files=("model.plan",), io=io, proof=proof)
        (out / "result.json").write_bytes(engine.canonical())
        assert bench.run("upload", *options_of).fault is None
    done = bench.assemble(request, "--lock", first.lock)
    l4, shared, h200 = (bench.published(done, target.name) for target in targets)
    plan = "models/relu/1/model.plan"
    assert l4[plan] == shared[plan] != h200[plan]
    assert done.server is not None
    assert done.server.gpu
