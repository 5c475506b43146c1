"""`import`: repositories as people write them, built again, with configs of the same meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_cli.exits import Exit
from ensemble_cli.main import main
from ensemble_cli.moving.comparing import lost
from ensemble_cli.moving.converting import message_data
from ensemble_cli.moving.repository import read_repository
from tests.storage.support.workbench import onnx_model

INPUT = 'input [{ name: "x" data_type: TYPE_FP32 dims: [3] }] '
OUTPUT = 'output [{ name: "y" data_type: TYPE_FP32 dims: [3] }]'
IO = INPUT + OUTPUT
TWO_INPUTS = INPUT.replace("}]", "}, { name: 'w' data_type: TYPE_FP32 dims: [3] }]")
LABELLED = INPUT + 'output [{ name: "y" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt" }]'
STEP = (
    'model_name: "%s" model_version: -1 '
    'input_map { key: "x" value: "%s" } output_map { key: "y" value: "%s" }'
)
STEPS = " ensemble_scheduling { step [{ " + STEP + " }, { " + STEP + " }] }"
ENSEMBLE = 'platform: "ensemble" max_batch_size: 4 ' + IO
PYTHON = "class TritonPythonModel:\n    pass\n"
REPOSITORY: dict[str, str | bytes] = {
    "bare/1/model.onnx": onnx_model(),
    "partial/1/model.onnx": onnx_model(),
    "partial/config.pbtxt": 'backend: "onnxruntime"\nmax_batch_size: 8\n'
    "dynamic_batching { preferred_batch_size: [4] }",
    "full/1/model.onnx": onnx_model(),
    "full/labels.txt": "cat\ndog\nfox\n",
    "full/config.pbtxt": 'platform: "onnxruntime_onnx" max_batch_size: 4 dynamic_batching {} ' + LABELLED,
    "initialised/1/model.onnx": onnx_model(),
    "initialised/config.pbtxt": 'backend: "onnxruntime" ' + TWO_INPUTS + OUTPUT,
    "unscheduled/1/model.onnx": onnx_model(),
    "unscheduled/config.pbtxt": 'backend: "onnxruntime" max_batch_size: 4 ' + IO,
    "versions/1/model.onnx": onnx_model(),
    "versions/3/model.onnx": onnx_model("other"),
    "versions/config.pbtxt": 'backend: "onnxruntime" max_batch_size: 2 version_policy { all {} }',
    "plain/1/model.py": PYTHON,
    "plain/config.pbtxt": 'backend: "python" max_batch_size: 4 '
    + IO
    + ' parameters { key: "y" value { string_value: "on" } } instance_group [{ kind: KIND_CPU count: 2 }]',
    "completing/1/model.py": PYTHON + "    def auto_complete_config(self, config): ...\n",
    "completing/config.pbtxt": 'backend: "python" max_batch_size: 4 ' + IO,
    "helped/1/model.py": "import helper\n" + PYTHON,
    "helped/1/helper.py": "",
    "helped/weights/w.bin": b"\0\1",
    "helped/config.pbtxt": 'backend: "python" ' + IO,
    "engine/1/model.plan": b"a plan",
    "engine/config.pbtxt": "max_batch_size: 4 default_model_filename: 'model.plan' " + IO,
    "inner/1/.gitkeep": "",
    "inner/config.pbtxt": ENSEMBLE + STEPS % ("full", "x", "mid", "plain", "mid", "y"),
    "outer/1/.gitkeep": "",
    "outer/classes of y.txt": "a\nb\nc\n",
    "outer/config.pbtxt": 'name: "outer" ' + ENSEMBLE + STEPS % ("inner", "x", "t", "full", "t", "y"),
    "README.md": "text",
    "docs/notes.txt": "text",
}  # fmt: skip


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def imported(capsys: pytest.CaptureFixture[str], repository: Path, *more: str) -> dict[str, Any]:
    assert main(["import", str(repository), "--uri", "s3://models/repo", "-o", "json", *more]) == Exit.DONE
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_every_kind_of_model_builds_to_the_same_meaning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = write(tmp_path / "My Repository", REPOSITORY)
    data = imported(capsys, repository, "--check")
    resource = data["resource"]
    assert resource["metadata"]["name"] == "my-repository"
    assert resource["spec"]["entrypoint"] == "outer"
    assert data["ignored"] == ["README.md", "docs"]
    kinds = {
        model["name"]: (set(model) & {"onnxruntime", "python", "files", "ensemble"}).pop()
        + (" " + model["autoComplete"] if "autoComplete" in model else "")
        for model in resource["spec"]["models"]
    }
    assert kinds == {
        "bare": "onnxruntime", "partial": "onnxruntime", "full": "onnxruntime", "plain": "python",
        "initialised": "files", "unscheduled": "files Server", "versions": "files Server",
        "completing": "files Server", "helped": "files", "engine": "files Server", "inner": "ensemble",
        "outer": "files",
    }  # fmt: skip
    uploads = {each["file"]: each["uri"] for each in data["uploads"]}
    assert uploads["helped/weights/w.bin"] == "s3://models/repo/helped/weights/w.bin"
    assert {"inner/config.pbtxt", "plain/config.pbtxt", "README.md"}.isdisjoint(uploads)


def test_the_yaml_is_what_kubectl_would_apply(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = write(tmp_path / "repo", {name: REPOSITORY[name] for name in REPOSITORY if "plain" in name})
    assert main(["import", str(repository), "--uri", "s3://models/repo/"]) == Exit.DONE
    shown = capsys.readouterr()
    assert yaml.safe_load(shown.out)["spec"]["models"] == [
        {
            "name": "plain",
            "maxBatchSize": 4,
            "python": {"source": {"uri": "s3://models/repo/plain/1/model.py"}},
            "config": {
                "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
                "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}],
                "instance_group": [{"kind": "KIND_CPU", "count": 2}],
                "parameters": {"y": {"string_value": "on"}},
            },
        }
    ]
    assert "'y':\n" in shown.out
    assert "upload 1 files" in shown.err
    (tmp_path / "e.yaml").write_text(shown.out)
    assert main(["validate", str(tmp_path / "e.yaml")]) == Exit.DONE


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a/config.pbtxt": "max_batch_size: 4\ninput [{ nam: 'x' }", "a/1/m": ""}, "a/config.pbtxt:2:10: "),
        ({"a/config.pbtxt": b"\xff\xfe", "a/1/m": ""}, "a/config.pbtxt:1:1: is no text"),
        ({"a/config.pbtxt": "name: 'b'", "a/1/m": ""}, "names the model 'b', but its folder is 'a'"),
        ({"a/config.pbtxt": "backend: 'python'"}, "a:1:1: has no version folder with files"),
        ({"a b/1/model.onnx": ""}, "has characters that a model's cannot have: rename the folder"),
        (
            {"e/config.pbtxt": "ensemble_scheduling { step [{ " + STEP % ("gone", "x", "y") + " }] }"},
            "e/config.pbtxt:1:1: a step calls 'gone', which is no model of the repository",
        ),
        ({"config.pbtxt": "", "1/model.onnx": ""}, "is a model, no repository; give the folder above"),
        ({"notes/readme.txt": ""}, "holds no models"),
    ],
)
def test_malformed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str | bytes], message: str
) -> None:
    repository = write(tmp_path / "repo", files)
    assert main(["import", str(repository), "--uri", "s3://models/repo"]) in {Exit.NO, Exit.USAGE}
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_more_models_than_a_spec_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = write(tmp_path / "repo", {f"m{index}/1/model.plan": "" for index in range(65)})
    data = imported(capsys, repository)
    assert data["resource"]["spec"]["repository"] == {"uri": "s3://models/repo/"}
    assert len(data["uploads"]) == 65
    assert data["notes"][-1] == "which model clients ask is not known: set spec.entrypoint"


def test_the_comparison_finds_what_is_lost(tmp_path: Path) -> None:
    before = {"a/1/model.py": "", "a/config.pbtxt": "max_batch_size: 4 dynamic_batching {} " + IO}
    found = read_repository(write(tmp_path / "before", dict(before)))
    after = write(tmp_path / "after", {"a/config.pbtxt": "max_batch_size: 8 " + IO.replace("[3]", "[4]", 1)})
    assert list(lost(found, after)) == [
        "a: max_batch_size", "a: input[0].dims", "a: dynamic_batching", "a: 1/model.py",
    ]  # fmt: skip


def test_config_survives_as_data() -> None:
    config = text_format.Parse(
        "sequence_batching { max_sequence_idle_microseconds: 18446744073709551615 oldest {} } "
        "optimization { cuda { graphs: true } } version_policy { specific { versions: [1, 3] } }",
        ModelConfig(),
    )
    assert message_data(config) == {
        "version_policy": {"specific": {"versions": [1, 3]}},
        "optimization": {"cuda": {"graphs": True}},
        "sequence_batching": {"max_sequence_idle_microseconds": "18446744073709551615", "oldest": {}},
    }
