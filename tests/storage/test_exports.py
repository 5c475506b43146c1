"""Exports: order → fetch → the user's container → upload → what is made of the model it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ensembles_api.contract import BuildOrder, Fault, NextBuild, Result
from ensembles_api.reasons import Reason
from ensembles_api.spec import Gpu
from tests.storage.support.workbench import DEFAULT_TARGET, Workbench, onnx_model

pytestmark = pytest.mark.s3
FIELD = "spec.models[0].onnxruntime.export"
IMAGE = "exporter@sha256:" + "a" * 64


def models(bench: Workbench, kind: str = "onnxruntime", **export: Any) -> list[dict[str, Any]]:
    weights = {"name": "weights", "source": {"uri": bench.put("w.bin", b"weights")}}
    folder = {
        "name": "package",
        "source": {"uri": bench.put("package/a/b.py", b"code").removesuffix("a/b.py")},
    }
    export = {"image": IMAGE, "inputs": [weights, folder], "output": "net.onnx", **export}
    return [
        {"name": "net", "maxBatchSize": 8, kind: {"export": export}},
        {"name": "all", "ensemble": {"chain": ["net"]}},
    ]


def fetch(bench: Workbench, result: Result, build: NextBuild) -> tuple[list[str], Path]:
    work = bench.folder / f"work-{build.key[:8]}"
    of_order = ["--lock", result.lock, "--key", build.key, "--proof", build.proof]
    given = [*bench.storage, *of_order, "--work", str(work)]
    assert bench.run("fetch", "build", *given).fault is None
    return given, work


def ordered(bench: Workbench, **export: Any) -> tuple[Result, list[str], Path]:
    result = bench.assemble(bench.request(*models(bench, **export)))
    (build,) = result.next
    assert (build.kind, build.field) == ("export", FIELD)
    return (result, *fetch(bench, result, build))


def fault(result: Result) -> Fault:
    assert result.fault is not None
    return result.fault


def test_a_model_with_external_data_is_exported_and_published(bench: Workbench) -> None:
    result, given, work = ordered(bench)
    assert (work / "in/weights").read_bytes() == b"weights"
    assert (work / "in/package/a/b.py").read_bytes() == b"code"
    (work / "out/net.onnx").write_bytes(onnx_model(external="data/w.bin"))
    (work / "out/data").mkdir()
    (work / "out/data/w.bin").write_bytes(bytes(12))
    (work / "out/notes.txt").write_text("left behind")
    assert bench.run("upload", *given).fault is None
    request = bench.request(*models(bench))
    done = bench.assemble(request, "--lock", result.lock, "--built", result.next[0].key)
    assert done.lock != result.lock, "what was exported is locked"
    files = bench.published(done)
    assert files["models/net/1/model.onnx"] == onnx_model(external="data/w.bin")
    assert files["models/net/1/data/w.bin"] == bytes(12)
    assert not any("notes" in path for path in files)
    assert 'name: "x"' in files["models/all/config.pbtxt"].decode()
    again = bench.assemble(request)
    assert (again.next, again.revision, again.lock) == ((), done.revision, done.lock), "never exported twice"


def test_an_engine_is_built_from_what_was_exported(bench: Workbench) -> None:
    target = DEFAULT_TARGET[0].model_copy(update={"gpu": Gpu()})
    request = bench.request(*models(bench, kind="tensorrt"), targets=(target,))
    first = bench.assemble(request)
    assert [(build.kind, build.gpu) for build in first.next] == [("export", False)]
    assert first.more == 1, "the engine"
    given, work = fetch(bench, first, first.next[0])
    (work / "out/net.onnx").write_bytes(onnx_model())
    bench.run("upload", *given)
    second = bench.assemble(request, "--lock", first.lock, "--built", first.next[0].key)
    assert [(build.kind, build.gpu) for build in second.next] == [("tensorrt", True)]
    _, work = fetch(bench, second, second.next[0])
    assert (work / "in/model.onnx").read_bytes() == onnx_model()
    order = BuildOrder.model_validate_json((work / "order.json").read_bytes())
    assert order.field == "spec.models[0].tensorrt"


def nothing(out: Path) -> None:
    (out / "model.onnx").write_bytes(onnx_model())


def a_pickle(out: Path) -> None:
    (out / "net.onnx").write_bytes(b"\x80\x02}q\x00.")


def weights_elsewhere(out: Path) -> None:
    (out / "net.onnx").write_bytes(onnx_model(external="w.bin"))


def weights_cut_short(out: Path) -> None:
    (out / "net.onnx").write_bytes(onnx_model(external="w.bin"))
    (out / "w.bin").write_bytes(bytes(11))


def a_link(out: Path) -> None:
    (out / "net.onnx").symlink_to("/etc/passwd")


def a_linked_folder(out: Path) -> None:
    (out / "net.onnx").write_bytes(onnx_model(external="etc/passwd"))
    (out / "etc").symlink_to("/etc")


@pytest.mark.parametrize(
    ("leave", "code", "said"),
    [
        (nothing, Reason.EXPORT_FAILED, "no usable 'net.onnx' was left behind: No such file or directory"),
        (a_pickle, Reason.INVALID_MODEL, "export with torch.onnx.export"),
        (weights_elsewhere, Reason.EXPORT_FAILED, "no usable 'w.bin'"),
        (weights_cut_short, Reason.EXPORT_FAILED, "'w.bin' has 11 bytes, and the model reads 12 of it"),
        (a_link, Reason.EXPORT_FAILED, "no usable 'net.onnx'"),
        (a_linked_folder, Reason.EXPORT_FAILED, "no usable 'etc/passwd'"),
    ],
)
def test_a_bad_export_is_refused_by_field(bench: Workbench, leave: Any, code: Reason, said: str) -> None:
    result, given, work = ordered(bench)
    leave(work / "out")
    refused = fault(bench.run("upload", *given))
    assert (refused.code, refused.field) == (code, FIELD)
    assert said in refused.message
    still = bench.assemble(bench.request(*models(bench)), "--lock", result.lock)
    assert still.next == result.next, "nothing was stored"


def test_wiring_around_an_export_is_checked_once_it_is_known(bench: Workbench) -> None:
    broken = models(bench)
    step = {"model": "net", "inputs": [{"name": "z", "from": "a"}], "outputs": [{"name": "y", "to": "b"}]}
    broken[1] = {"name": "all", "ensemble": {"steps": [step]}}
    first = bench.assemble(bench.request(*broken))
    given, work = fetch(bench, first, first.next[0])
    (work / "out/net.onnx").write_bytes(onnx_model())
    bench.run("upload", *given)
    refused = bench.assemble(bench.request(*broken), "--lock", first.lock)
    assert fault(refused).code is Reason.INVALID_WIRING


def test_an_image_that_is_no_digest_is_warned_about(bench: Workbench) -> None:
    result, given, work = ordered(bench, image="exporter:dev")
    (work / "out/net.onnx").write_bytes(onnx_model())
    bench.run("upload", *given)
    done = bench.assemble(bench.request(*models(bench, image="exporter:dev")), "--lock", result.lock)
    assert any(f"{FIELD}.image" in warning for warning in done.warnings)
