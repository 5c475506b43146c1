"""`import`: repositories as people write them, built again, with configs of the same meaning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
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


def ensemble(*called: str) -> str:
    steps = ", ".join("{ " + STEP % (name, "x", "y") + " }" for name in called)
    return ENSEMBLE + f"ensemble_scheduling {{ step [{steps}] }}"


SERVED: dict[str, str | bytes] = {"p/config.pbtxt": 'backend: "python" ' + IO, "p/1/model.py": PYTHON}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a/config.pbtxt": "max_batch_size: 4\ninput [{ nam: 'x' }", "a/1/m": ""}, "a/config.pbtxt:2:10: "),
        ({"a/config.pbtxt": b"\xff\xfe", "a/1/m": ""}, "a/config.pbtxt:1:1: is no text: save it as UTF-8"),
        ({"a/config.pbtxt": "\ufeffbackend: 'python'"}, "a/config.pbtxt:1:1: begins with a byte order mark"),
        ({"a/config.pbtxt": '{"name": "a"}'}, "a/config.pbtxt:1:1: Expected identifier or number, got {: "),
        ({"a/config.pbtxt": "\0"}, r"Expected identifier or number, got \x00: correct it"),
        ({"a/config.pbtxt/b": ""}, "a/config.pbtxt:1:1: is no file: remove it"),
        ({"a/config.pbtxt": "name: 'b'", "a/1/m": ""}, "names the model 'b', but its folder is 'a'"),
        ({"a/config.pbtxt": "backend: 'python'"}, "a:1:1: has no version folder with files"),
        ({"a/config.pbtxt": "backend: 'python'", "a/v1/model.py": ""}, "with 0): rename v1/ to 1/"),
        ({"a/latest/model.onnx": ""}, "rename latest/ to 1/"),
        ({"a/01/model.onnx": "", "b/0/model.plan": ""}, "rename 01/ to 1/"),
        ({"a/model.onnx": ""}, "put the model's files into 1/"),
        ({"a/config.pbtxt": "backend: 'python'", "a/1/main.py": ""}, "a:1:1: has no 1/model.py: put"),
        ({"a/config.pbtxt": "platform: 'tensorrt_plan'", "a/1/x": "", "a/2/y": ""}, "has no 2/model.plan: "),
        ({"a/config.pbtxt": "backend: 'b' default_model_filename: 'f'", "a/1/g": ""}, "has no 1/f: put"),
        ({"a/config.pbtxt": IO, "a/1/weights.bin": ""}, "names no backend, and no file tells which"),
        ({"a/config.pbtxt": "max_batch_size: -1", "a/1/model.onnx": ""}, "is negative: write 0"),
        ({"a b/1/model.onnx": ""}, "has characters that a model's cannot have: rename the folder"),
        (
            {"e/config.pbtxt": "ensemble_scheduling { step [{ " + STEP % ("gone", "x", "y") + " }] }"},
            "e/config.pbtxt:1:1: a step calls 'gone', which is no model of the repository",
        ),
        ({"e/config.pbtxt": ENSEMBLE}, "e/config.pbtxt:1:1: is an ensemble without steps: add"),
        (
            SERVED | {"e/config.pbtxt": ENSEMBLE + "ensemble_scheduling { step [{ model_name: 'p' }] }"},
            "e/config.pbtxt:1:1: a step calls 'p' without input_map or output_map: add it",
        ),
        (
            SERVED | {"e/config.pbtxt": ensemble("p").replace("-1", "7")},
            "a step asks version 7 of 'p', which has 1: name one of them",
        ),
        ({"e/config.pbtxt": ensemble("e")}, "ensembles call each other in a circle: e -> e: break it"),
        (
            SERVED | {"d/config.pbtxt": ensemble("p", "e"), "e/config.pbtxt": ensemble("f"),
                      "f/config.pbtxt": ensemble("p", "e")},
            "ensembles call each other in a circle: e -> f -> e: break it",
        ),
        ({"config.pbtxt": "", "1/model.onnx": ""}, "is a model, no repository; give the folder above"),
        ({"notes/readme.txt": ""}, "holds no models"),
        ({"model.onnx": ""}, "holds no models; give the folder whose folders are models: MODEL/1/model.onnx"),
    ],
)  # fmt: skip
def test_malformed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str | bytes], message: str
) -> None:
    repository = write(tmp_path / "repo", files)
    assert main(["import", str(repository), "--uri", "s3://models/repo"]) in {Exit.NO, Exit.USAGE}
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("link", "to", "message"),
    [
        ("p/1/up", "..", "p/1/up:1:1: is a link to a folder around it: remove the link"),
        ("p/1/self", "self", "p/1/self:1:1: cannot be read (Too many levels of symbolic links): mend or"),
        ("p/1/gone.bin", "/nowhere/gone.bin", "p/1/gone.bin:1:1: cannot be read (No such file or directory)"),
    ],
)
def test_links_that_lead_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], link: str, to: str, message: str
) -> None:
    repository = write(tmp_path / "repo", SERVED)
    (repository / link).symlink_to(to)
    assert main(["import", str(repository), "--uri", "s3://models/repo"]) == Exit.NO
    assert message in capsys.readouterr().err


def test_what_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = write(tmp_path / "repo", SERVED)
    os.mkfifo(repository / "p/1/pipe")
    (repository / os.fsdecode(b"p/1/caf\xe9.bin")).touch()
    assert main(["import", str(repository), "--uri", "s3://models/repo"]) == Exit.NO
    shown = capsys.readouterr().err
    assert "p/1/pipe:1:1: is neither a file nor a folder: remove it" in shown
    assert "p/1/caf\\xe9.bin:1:1: has a name that is not UTF-8, as names of objects are: rename it" in shown


def test_links_are_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To a version's folder and to a file, as people share weights between models."""
    shared = write(tmp_path / "shared", {"net/model.onnx": onnx_model(), "weights.bin": b"\0"})
    config = 'backend: "onnxruntime" ' + IO
    repository = write(tmp_path / "repo", {"net/config.pbtxt": config, "net/2/model.onnx": onnx_model()})
    (repository / "net/1").symlink_to(shared / "net")
    (repository / "net/2/weights.bin").symlink_to(shared / "weights.bin")
    data = imported(capsys, repository, "--check")
    assert [each["file"] for each in data["uploads"]] == [
        "net/1/model.onnx", "net/2/model.onnx", "net/2/weights.bin", "net/config.pbtxt",
    ]  # fmt: skip


READ = """
import os, sys
from pathlib import Path
from ensemble_cli.moving.repository import read_repository

if os.getuid() == 0:
    os.setuid(65534)  # rights bind everybody but root
print(*read_repository(Path(sys.argv[1])).troubles, sep="\\n")
"""


@pytest.mark.parametrize("locked", ["p", "p/1", "p/config.pbtxt", "p/1/model.py"])
def test_what_may_not_be_read(locked: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        repository = write(Path(folder), SERVED)
        before = (repository / locked).stat().st_mode
        (repository / locked).chmod(0)
        command = [sys.executable, "-c", READ, folder]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        (repository / locked).chmod(before)
    assert f"{repository / locked}:1:1: cannot be read (Permission denied): mend its rights" in run.stdout


def test_what_only_building_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The messages speak of the resource, and name the model beside."""
    files = SERVED | {
        "broken/config.pbtxt": 'backend: "onnxruntime"', "broken/1/model.onnx": b"no ONNX",
        "a/config.pbtxt": 'backend: "python" ' + IO, "a/1/model.py": PYTHON,
    }  # fmt: skip
    repository = write(tmp_path / "repo", files)
    arguments = ["import", str(repository), "--uri", "s3://models/repo"]
    assert main([*arguments, "--check"]) == Exit.NO
    shown = capsys.readouterr()
    assert shown.out == ""
    error = shown.err.splitlines()[-1]
    assert "InvalidModel: spec.models[1].onnxruntime.source: model.onnx is not an ONNX file" in error
    assert error.endswith("(spec.models[1] is broken)")


def test_windows_line_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = 'backend: "python"\r\nmax_batch_size: 4\r\n# a comment\r\n' + IO.replace("[{", "[\r\n{")
    repository = write(tmp_path / "repo", {"p/config.pbtxt": config, "p/1/model.py": PYTHON})
    (model,) = imported(capsys, repository, "--check")["resource"]["spec"]["models"]
    assert (model["maxBatchSize"], set(model)) == (4, {"name", "maxBatchSize", "python", "config"})


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
