"""`build`, `render` and what `serve` starts, from folders: real ONNX graphs and a real DALI pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ensemble_cli.documents import write_yaml
from ensemble_cli.ensembles import Ensemble
from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.laptop.engines import kill_command
from ensemble_cli.laptop.request import make_request
from ensemble_cli.laptop.serving import read_manifest, server_command
from ensemble_cli.main import main
from ensembles_api.contract import Manifest
from ensembles_api.spec import InferenceEnsembleSpec
from tests.storage.support.workbench import onnx_model

PIPELINE = """
from nvidia.dali import fn, pipeline_def, types


@pipeline_def
def pipe():
    raw = fn.external_source(name="raw", dtype=types.UINT8, ndim=1)
    three = fn.slice(raw, 0, 3, axes=[0], out_of_bounds_policy="pad")
    return fn.reshape(fn.cast(three, dtype=types.FLOAT), shape=[3])
"""
SOURCE = {"uri": "s3://models/src/net.onnx"}
NET: dict[str, Any] = {"name": "net", "maxBatchSize": 4, "onnxruntime": {"source": SOURCE}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/net.onnx").write_bytes(onnx_model())
    return tmp_path


def build(folder: Path, *models: dict[str, Any], command: str = "build", more: tuple[str, ...] = ()) -> Exit:
    ensemble = {
        "apiVersion": "ensembles.dev/v1alpha1",
        "kind": "InferenceEnsemble",
        "metadata": {"name": "small"},
        "spec": {"storage": {"uri": "s3://models/store", "secretName": "keys"}, "models": list(models)},
    }
    texts = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "texts"},
        "data": {"l": "a\nb\nc\n"},
    }
    file = folder / "e.yaml"
    file.write_text(f"{write_yaml(texts)}---\n{write_yaml(ensemble)}")
    to = ["--to", str(folder / "out")] if command == "build" else []
    return main([command, str(file), *to, "--source", f"s3://models/src={folder / 'src'}", *more])


def test_a_pipeline_and_a_network(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nvidia.dali")
    (folder / "src/pipe.py").write_text(PIPELINE)
    labels = [{"output": "y", "source": {"configMap": {"name": "texts", "key": "l"}}}]
    models: list[dict[str, Any]] = [
        {"name": "pre", "maxBatchSize": 4, "dali": {"source": {"uri": "s3://models/src/pipe.py"}}},
        NET | {"labels": labels},
        {"name": "all", "ensemble": {"chain": ["pre", "net"]}},
    ]
    assert build(folder, *models) == Exit.DONE
    shown = capfd.readouterr()
    assert shown.out.endswith(", ask model all\n")
    assert shown.err.count("compiled dali 'pre'") == 1
    files = {
        path.relative_to(folder / "out/models").as_posix() for path in (folder / "out/models").rglob("*.*")
    }
    assert files == {
        "pre/config.pbtxt", "pre/1/model.dali", "net/config.pbtxt", "net/1/model.onnx", "net/labels.txt",
        "all/config.pbtxt", "all/1/.keep",
    }  # fmt: skip
    # Nothing is built again, and what is rendered is what was built.
    cache = ("--cache", str(folder / "out"), "-o", "json")
    assert build(folder, *models, command="render", more=cache) == Exit.DONE
    again = capfd.readouterr()
    assert "compiled" not in again.err
    rendered = json.loads(again.out)["configs"]
    assert rendered == {
        name: (folder / "out/models" / name).read_text() for name in files if name.endswith("config.pbtxt")
    }


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"name": "net", "onnxruntime": {"source": {"uri": "s3://models/src/nett.onnx"}}},
            "SourceMissing: spec.models[0].onnxruntime.source.uri: s3://models/src/nett.onnx does not exist",
        ),
        (NET | {"maxBatchSize": 4, "config": {"max_batch": 1}}, "InvalidConfig: spec.models[0].config"),
        (
            {"name": "net", "onnxruntime": {"source": {"uri": "s3://elsewhere/net.onnx"}}},
            "SecretMissing: spec.storage.secretName",
        ),
    ],
)
def test_what_was_built_stays_where_a_change_is_wrong(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, Any],
    message: str,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert build(folder, NET) == Exit.DONE
    before = {path: path.read_bytes() for path in (folder / "out/models").rglob("*.*") if path.is_file()}
    capsys.readouterr()
    assert build(folder, model) == Exit.NO
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error:")]
    assert message in line
    assert before == {path: path.read_bytes() for path in (folder / "out/models").rglob("*.*")}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--source", "src=src"), "'src=src' is no source; write --source s3://bucket/prefix=FOLDER"),
        (("--source", "s3://models=nowhere"), "nowhere does not exist"),
        (("--target", "l4"), "no target 'l4'; the spec has default"),
        (("--name", "large"), "no ensemble 'large' there; there is: small"),
    ],
)
def test_wrong_options(
    folder: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert build(folder, NET, more=more) == Exit.USAGE
    assert message in capsys.readouterr().err


def served(folder: Path, **options: Any) -> list[str]:
    return server_command(
        folder,
        read_manifest(folder),
        **{"program": "", "image": "", "first_port": 9000, "extra": ["--log-verbose=1"], **options},
    )


def put_program(folder: Path, name: str) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_how_a_folder_is_served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="holds nothing that was built; build first"):
        read_manifest(folder)
    server = {"gpu": True, "plugins": {"dali": ["plugins/a.so"]}}
    manifest = Manifest(
        namespace="n", name="e", server_image="server:1", versions={}, server=server, targets={}
    )
    (folder / "manifest.json").write_bytes(manifest.canonical())
    programs = folder / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(
        CommandError, match="tritonserver is not on PATH, and neither docker nor podman is installed"
    ):
        served(folder)
    put_program(programs, "docker")
    line = served(folder)
    assert line[:3] == [str(programs / "docker"), "run", "--rm"]
    assert kill_command(line)[:2] == [str(programs / "docker"), "kill"]
    assert {"--gpus=all", "--publish=127.0.0.1:9001:8001", f"--volume={folder}/models:/models:ro"} <= set(
        line
    )
    assert {
        f"--volume={folder}/plugins:/plugins:ro",
        "--backend-config=dali,plugin_libs=/plugins/a.so",
    } <= set(line)
    assert line[line.index("server:1") :][:3] == ["server:1", "tritonserver", "--model-repository=/models"]
    put_program(programs, "tritonserver")
    line = served(folder)
    assert line[0] == str(programs / "tritonserver")
    assert {f"--model-repository={folder}/models", "--grpc-port=9001", "--log-verbose=1"} <= set(line)
    assert f"--backend-config=dali,plugin_libs={folder}/plugins/a.so" in line
    assert served(folder, image="other:2")[0] == str(programs / "docker")


@pytest.mark.parametrize(("kind", "needs_gpu"), [("KIND_GPU", True), ("KIND_CPU", False)])
def test_a_model_on_the_gpu_makes_the_only_target_one(kind: str, *, needs_gpu: bool) -> None:
    model = {**NET, "config": {"instance_group": [{"kind": kind}]}}
    storage = {"uri": "s3://models/store", "secretName": "keys"}
    document = {"metadata": {"name": "e"}, "spec": {"storage": storage, "models": [model]}}
    spec = InferenceEnsembleSpec.model_validate(document["spec"])

    ensemble = Ensemble("e", "default", document, spec, {})
    request = make_request(ensemble, target="", server_image="s:1", builder_image="b:1")

    assert [(target.name, target.gpu is not None) for target in request.targets] == [("default", needs_gpu)]


def test_the_objects_that_would_serve_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--show", "manifests", "--tools-image", "tools:1")
    assert build(folder, NET, command="render", more=more) == Exit.USAGE
    assert "give --server-image" in capsys.readouterr().err
    assert build(folder, NET, command="render", more=(*more, "--server-image", "server:1")) == Exit.DONE
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [each["kind"] for each in objects] == ["Service", "Service", "Deployment", "Job"]
    main_service, _, servers, _ = objects
    pod = servers["spec"]["template"]
    assert main_service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert [each["image"] for each in pod["spec"]["containers"]] == ["server:1", "tools:1"]
    assert (
        build(folder, NET, command="render", more=(*more, "--server-image", "s:1", "-o", "json")) == Exit.DONE
    )
    assert json.loads(capsys.readouterr().out)["kind"] == "List"


def test_what_was_built_as_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(folder, NET, more=("-o", "json")) == Exit.DONE
    data = json.loads(capsys.readouterr().out)
    manifest = read_manifest(folder / "out")
    assert data == {
        "models": str(folder / "out/models"),
        "revision": manifest.digest(),
        "entrypoint": "net",
        "warnings": [],
    }


def test_no_keys_and_no_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    other = NET | {"onnxruntime": {"source": {"uri": "s3://elsewhere/net.onnx"}}}
    assert build(folder, other) == Exit.NO
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("or take what lies there from a folder: --source s3://BUCKET/PREFIX=FOLDER")
    )
