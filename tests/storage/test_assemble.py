"""assemble → publish → fetch through the command line, for every kind of model that needs no build."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import PinSubject
from ensemble_builder.commands.pinning import read_settled
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.store import Store
from ensembles_api.contract import Fault, Manifest, Result, TargetRequest
from ensembles_api.reasons import Reason
from ensembles_api.verification import VerificationPlan
from tests.storage.support.s3server import Server
from tests.storage.support.workbench import Workbench, onnx_model, repository

pytestmark = pytest.mark.s3
PYTHON = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"
IO: dict[str, Any] = {
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}],
}
CONFIG = (
    'name: "hand"\nbackend: "identity"\nmax_batch_size: 0\n'
    'input { name: "x" data_type: TYPE_FP32 dims: [3] }\n'
    'output { name: "y" data_type: TYPE_FP32 dims: [3] label_filename: "names.txt" }\n'
)


def relu(bench: Workbench, **more: Any) -> dict[str, Any]:
    return {"name": "relu", "onnxruntime": {"source": {"uri": bench.put("net.onnx", onnx_model())}}, **more}


def fault(result: Result) -> Fault:
    assert result.fault is not None
    return result.fault


def test_an_onnx_model_is_published_and_fetched(bench: Workbench) -> None:
    result = bench.assemble(bench.request(relu(bench)))
    files = bench.published(result)
    assert set(files) == {
        "models/relu/1/model.onnx",
        "models/relu/config.pbtxt",
        "verification/cases.json",
    }
    assert files["models/relu/1/model.onnx"] == onnx_model()
    assert b"max_batch_size: 4" in files["models/relu/config.pbtxt"]
    assert result.server is not None
    assert result.server.entrypoint == "relu"
    (case,) = VerificationPlan.model_validate_json(files["verification/cases.json"]).cases
    assert not case.guessed


def test_a_revision_is_its_manifest(bench: Workbench) -> None:
    result = bench.assemble(bench.request(relu(bench)))
    data = bench.store.root.get(bench.store.key(layout.manifest("demo", "vision", result.revision)))
    assert data is not None
    assert hashlib.sha256(data).hexdigest() == result.revision
    assert Manifest.model_validate_json(data).canonical() == data


def test_assembling_again_changes_nothing(bench: Workbench, server: Server) -> None:
    first = bench.assemble(bench.request(relu(bench)))
    folder = server.object("models", bench.store.key(layout.revision("demo", "vision", first.revision)))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    again = bench.assemble(bench.request(relu(bench)))
    assert (again.lock, again.revision) == (first.lock, first.revision)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_pinning_anew_what_has_not_changed_gives_the_same_revision(bench: Workbench) -> None:
    first = bench.assemble(bench.request(relu(bench)))
    again = bench.assemble(bench.request(relu(bench), requested_at="2026-01-01", uid="other"))
    assert again.lock != first.lock
    assert again.revision == first.revision


def test_another_server_image_is_another_revision(bench: Workbench) -> None:
    first = bench.assemble(bench.request(relu(bench)))
    assert bench.assemble(bench.request(relu(bench), server_image="server:2")).revision != first.revision


def test_with_a_lock_nothing_is_pinned_again(bench: Workbench) -> None:
    request = bench.request(relu(bench))
    first = bench.assemble(request)
    bench.put("net.onnx", b"other bytes")
    again = bench.assemble(request, "--lock", first.lock)
    assert again.revision == first.revision


def test_a_source_replaced_before_publication_is_refused(bench: Workbench) -> None:
    """The lock is there, the revision is not: as when the process was killed between the two."""
    request = bench.request(relu(bench))
    first = bench.assemble(request)
    bench.run("prune", *bench.storage, *bench.ensemble, "--all")
    bench.put("net.onnx", b"other bytes")
    refused = fault(bench.assemble(request, "--lock", first.lock))
    assert refused.code is Reason.DIGEST_MISMATCH
    assert refused.field == "spec.models[0].onnxruntime.source.uri"
    assert "requestedAt" in refused.message


def test_a_source_replaced_while_it_is_pinned_is_no_fault_of_the_user(store: Store) -> None:
    key = store.key("source")
    store.root.put(key, b"old")
    seen = store.root.head(key)
    assert seen is not None
    store.root.put(key, b"new")
    subject = PinSubject(
        endpoint=store.location.endpoint, bucket=store.root.name, key=key, etag=seen.etag, size=seen.size
    )
    with pytest.raises(FaultError) as caught:
        read_settled(subject, store.root)
    assert caught.value.fault.code is Reason.SOURCE_CHANGING


def test_a_large_source_is_read_once(bench: Workbench, server: Server) -> None:
    """The second time, the object's name, ETag and size stand for its bytes."""
    uri = bench.put("big/weights.bin", bytes(2 << 20))
    bench.put("big/model.py", PYTHON.encode())
    request = bench.request(
        {"name": "p", "python": {"source": {"uri": uri.removesuffix("weights.bin")}}, "config": IO}
    )
    first = bench.assemble(request)
    pins = bench.store.key("pins/")
    assert len(list(bench.store.root.list(pins))) == 1
    path = server.object("models", bench.store.key("sources/big/weights.bin"))
    with path.open("r+b") as file:
        file.write(b"unnoticed, because nothing reads it")
    assert bench.assemble(request).lock == first.lock


def test_a_stated_digest_must_fit(bench: Workbench) -> None:
    model = relu(bench)
    model["onnxruntime"]["source"]["sha256"] = "0" * 64
    refused = fault(bench.assemble(bench.request(model)))
    assert refused.code is Reason.DIGEST_MISMATCH
    assert refused.field == "spec.models[0].onnxruntime.source.sha256"
    assert hashlib.sha256(onnx_model()).hexdigest() in refused.message
    model["onnxruntime"]["source"]["sha256"] = hashlib.sha256(onnx_model()).hexdigest()
    assert bench.assemble(bench.request(model)).revision


def test_config_maps_and_inline_texts(bench: Workbench) -> None:
    bench.config_map("code", **{"m.py": PYTHON})
    models = [
        {"name": "a", "python": {"source": {"configMap": {"name": "code", "key": "m.py"}}}, "config": IO},
        {"name": "b", "python": {"source": {"inline": PYTHON + "# b"}}, "config": IO},
    ]
    files = bench.published(bench.assemble(bench.request(*models)))
    assert files["models/a/1/model.py"] == PYTHON.encode()
    assert files["models/b/1/model.py"] == (PYTHON + "# b").encode()


@pytest.mark.parametrize(("name", "key"), [("code", "absent"), ("absent", "m.py")])
def test_a_missing_config_map_is_named(bench: Workbench, name: str, key: str) -> None:
    bench.config_map("code", **{"m.py": PYTHON})
    model = {"name": "a", "python": {"source": {"configMap": {"name": name, "key": key}}}, "config": IO}
    refused = fault(bench.assemble(bench.request(model)))
    assert refused.code is Reason.CONFIG_MAP_MISSING
    assert refused.field == "spec.models[0].python.source.configMap"
    assert repr(name) in refused.message


def test_a_python_folder_with_environment_labels_and_extra_files(bench: Workbench) -> None:
    bench.put("post/model.py", PYTHON.encode())
    folder = bench.put("post/lib/helper.py", b"").removesuffix("lib/helper.py")
    bench.put("extra/a.txt", b"a")
    extra = bench.put("extra/deep/b.txt", b"b").removesuffix("deep/b.txt")
    model = {
        "name": "post",
        "python": {
            "source": {"uri": folder},
            "environment": {"source": {"uri": bench.put("env.tgz", b"packed")}},
        },
        "config": IO,
        "labels": [{"output": "y", "source": {"inline": "cat\ndog\n"}}],
        "extraFiles": [
            {"path": "stub/run", "source": {"inline": "#!/bin/sh\n"}},
            {"path": "data", "source": {"uri": extra}},
        ],
    }
    result = bench.assemble(bench.request(model))
    files = bench.published(result)
    assert {path.removeprefix("models/post/") for path in files if path.startswith("models")} == {
        "1/model.py",
        "1/lib/helper.py",
        "environment.tar.gz",
        "labels.txt",
        "stub/run",
        "data/a.txt",
        "data/deep/b.txt",
        "config.pbtxt",
    }
    config = files["models/post/config.pbtxt"].decode()
    assert "$$TRITON_MODEL_DIRECTORY/environment.tar.gz" in config
    assert 'label_filename: "labels.txt"' in config
    script = bench.folder / f"to-{result.revision}-default/models/post/stub/run"
    assert script.stat().st_mode & 0o777 == 0o755


def test_a_folder_without_version_folder_gets_one(bench: Workbench) -> None:
    bench.put("any/config.pbtxt", CONFIG.encode())
    bench.put("any/names.txt", b"n")
    uri = bench.put("any/weights.bin", b"w").removesuffix("weights.bin")
    files = bench.published(bench.assemble(bench.request({"name": "hand", "files": {"uri": uri}})))
    assert {path for path in files if path.startswith("models")} == {
        "models/hand/1/weights.bin",
        "models/hand/names.txt",
        "models/hand/config.pbtxt",
    }


def test_a_folder_with_versions_stays_as_it_is(bench: Workbench) -> None:
    bench.put("any/config.pbtxt", CONFIG.encode())
    bench.put("any/3/names.txt", b"n")
    bench.put("any/names.txt", b"n")
    uri = bench.put("any/7/x/weights.bin", b"w").removesuffix("7/x/weights.bin")
    files = bench.published(bench.assemble(bench.request({"name": "hand", "files": {"uri": uri}})))
    assert {path for path in files if path.startswith("models")} == {
        "models/hand/3/names.txt",
        "models/hand/7/x/weights.bin",
        "models/hand/names.txt",
        "models/hand/config.pbtxt",
    }


def test_a_hand_written_repository_is_published_untouched(bench: Workbench) -> None:
    ensemble = (
        'name: "both" platform: "ensemble" max_batch_size: 0 # a comment\n'
        'input { name: "x" data_type: TYPE_FP32 dims: [3] }\n'
        'output { name: "z" data_type: TYPE_FP32 dims: [3] }\n'
        'ensemble_scheduling { step { model_name: "hand" model_version: -1 '
        'input_map { key: "x" value: "x" } output_map { key: "y" value: "z" } } }\n'
    )
    bench.put("repo/README.md", b"ignored")
    bench.put("repo/both/config.pbtxt", ensemble.encode())
    bench.put("repo/hand/config.pbtxt", CONFIG.encode())
    uri = bench.put("repo/hand/1/weights", b"w").removesuffix("hand/1/weights")
    result = bench.assemble(bench.request(relu(bench), repository=repository(uri), entrypoint="both"))
    files = bench.published(result)
    assert files["models/both/config.pbtxt"] == ensemble.encode()
    assert files["models/both/1/.keep"] == b""
    assert files["models/hand/1/weights"] == b"w"
    assert "models/relu/1/model.onnx" in files
    assert not any("README" in path for path in files)
    assert result.server is not None
    assert result.server.entrypoint == "both"


def test_several_versions(bench: Workbench) -> None:
    uri = bench.put("net.onnx", onnx_model())
    model = {
        "name": "m",
        "versions": [
            {"version": 1, "onnxruntime": {"source": {"uri": uri}}},
            {"version": 3, "onnxruntime": {"source": {"uri": uri}}},
        ],
        "config": {"version_policy": {"all": {}}},
    }
    files = bench.published(bench.assemble(bench.request(model)))
    assert {"models/m/1/model.onnx", "models/m/3/model.onnx", "models/m/config.pbtxt"} < set(files)


def test_an_ensemble_has_an_object_in_its_version_folder(bench: Workbench) -> None:
    models = [relu(bench), {"name": "all", "ensemble": {"chain": ["relu"]}}]
    files = bench.published(bench.assemble(bench.request(*models)))
    assert files["models/all/1/.keep"] == b""


def test_several_targets_have_the_same_models(bench: Workbench) -> None:
    targets = (TargetRequest(name="a"), TargetRequest(name="b"))
    result = bench.assemble(bench.request(relu(bench), targets=targets))
    assert bench.published(result, "a") == bench.published(result, "b")


def test_external_data_is_published_beside_the_model(bench: Workbench) -> None:
    bench.put("net/unrelated.txt", b"")
    bench.put("net/data/w.bin", bytes(12))
    uri = bench.put("net/m.onnx", onnx_model(external="data/w.bin")).removesuffix("m.onnx")
    result = bench.assemble(bench.request({"name": "m", "onnxruntime": {"source": {"uri": uri}}}))
    files = bench.published(result)
    assert {path for path in files if path.startswith("models/m/1")} == {
        "models/m/1/model.onnx",
        "models/m/1/data/w.bin",
    }


@pytest.mark.parametrize(
    ("name", "external", "said"),
    [
        ("net/m.onnx", "w.bin", "a uri ending in /"),
        ("net/", "w.bin", "upload it to"),
        ("net/m.onnx", "../w.bin", "outside of the model's folder"),
        ("net/", "../../secret", "outside of the model's folder"),
    ],
)
def test_external_data_that_is_not_there(bench: Workbench, name: str, external: str, said: str) -> None:
    bench.put("net/m.onnx", onnx_model(external=external))
    uri = bench.store.root.access.uri(bench.store.key(f"sources/{name}"))
    model = {"name": "m", "onnxruntime": {"source": {"uri": uri}}}
    refused = fault(bench.assemble(bench.request(model)))
    assert refused.code is Reason.INVALID_MODEL
    assert refused.field == "spec.models[0].onnxruntime.source"
    assert said in refused.message


def test_external_data_that_is_cut_short(bench: Workbench) -> None:
    bench.put("net/w.bin", bytes(11))
    uri = bench.put("net/m.onnx", onnx_model(external="w.bin")).removesuffix("m.onnx")
    for kind in ("onnxruntime", "tensorrt"):
        refused = fault(bench.assemble(bench.request({"name": "m", kind: {"source": {"uri": uri}}})))
        assert (refused.code, refused.field) == (Reason.INVALID_MODEL, f"spec.models[0].{kind}.source")
        assert "'w.bin' has 11 bytes, the model reads 12 of it" in refused.message


def test_sources_are_refused_with_their_field(bench: Workbench) -> None:
    folder = bench.put("many/a.onnx", onnx_model()).removesuffix("a.onnx")
    bench.put("many/b.onnx", onnx_model())
    bench.put("version/1/model.py", b"")
    version = bench.store.root.access.uri(bench.store.key("sources/version/"))
    absent = f"{folder}absent.onnx"
    missing, model, spec = Reason.SOURCE_MISSING, Reason.INVALID_MODEL, Reason.INVALID_SPEC
    python = {"python": {"source": {"inline": PYTHON}}, "config": IO}

    def net(**source: str) -> dict[str, Any]:
        return {"onnxruntime": {"source": source}}

    def extra(path: str) -> dict[str, Any]:
        return {**python, "extraFiles": [{"path": path, "source": {"inline": ""}}]}

    cases: list[tuple[dict[str, Any], Reason, str, str]] = [
        (net(uri=absent), missing, "onnxruntime.source.uri", absent),
        (net(uri=f"{folder}x/"), missing, "onnxruntime.source.uri", "nothing lies below"),
        (
            net(uri="s3://nowhere/x"),
            Reason.BUCKET_MISSING,
            "onnxruntime.source.uri",
            "'nowhere' does not exist",
        ),
        (net(uri=folder), model, "onnxruntime.source", "holds 2"),
        (net(inline="nonsense"), model, "onnxruntime.source", "not an ONNX file"),
        ({"dali": {"source": {"uri": folder}}}, spec, "dali.source", "is a folder"),
        ({"python": {"source": {"uri": version}}}, model, "python.source", "holds no model.py"),
        ({"files": {"uri": folder, "sha256": "0" * 64}}, spec, "files", "a folder has no sha256"),
        (extra("1"), spec, "", "would be a file and the folder"),
        (extra("1/model.py"), spec, "extraFiles", "already"),
    ]
    for kind, code, field, said in cases:
        refused = fault(bench.assemble(bench.request({"name": "m", **kind})))
        assert refused.code is code, refused
        assert refused.field == f"spec.models[0].{field}".removesuffix("."), refused
        assert said in refused.message


def test_a_request_of_another_contract_is_refused(bench: Workbench) -> None:
    request = bench.folder / "request.json"
    request.write_text(json.dumps({"contract": 2}))
    refused = fault(bench.run("assemble", "--request", str(request), *bench.storage))
    assert refused.code is Reason.INVALID_SPEC


def test_a_changed_lock_is_corrupt_and_a_missing_one_vanished(bench: Workbench, server: Server) -> None:
    request = bench.request(relu(bench))
    lock = bench.assemble(request).lock
    server.object("models", bench.store.key(layout.lock(lock))).write_bytes(b"{}")
    assert fault(bench.assemble(request, "--lock", lock)).code is Reason.STORAGE_CORRUPT
    assert fault(bench.assemble(request, "--lock", "0" * 64)).code is Reason.LOCK_VANISHED
