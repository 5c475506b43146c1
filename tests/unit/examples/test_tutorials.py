"""The tutorials' ensembles are built without a cluster: what was written by hand comes out of the YAML."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_cli.exits import Exit
from ensemble_cli.laptop import compiling
from ensemble_cli.main import main
from ensemble_cli.moving.comparing import lost
from ensemble_cli.moving.repository import read_repository

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
Prepared = Callable[[str], Path]


def build(name: str, file: str, prepared: Prepared, to: Path) -> Path:
    """The model repository that `kubectl ensemble build` makes of an example."""
    source = f"s3://models/examples/{name}={prepared(name)}"
    assert main(["build", str(EXAMPLES / name / file), "--to", str(to), "--source", source]) == Exit.DONE
    return to / "models"


def config(models: Path, name: str) -> ModelConfig:
    return text_format.Parse((models / name / "config.pbtxt").read_text(), ModelConfig())


@pytest.fixture(scope="module")
def resnet50(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("dali-resnet50", "ensemble.yaml", prepared, tmp_path_factory.mktemp("resnet50"))


def test_the_generated_configs_say_what_was_written_by_hand(resnet50: Path, prepared: Prepared) -> None:
    by_hand = read_repository(prepared("from-config-pbtxt") / "model_repository")
    assert {model.name for model in by_hand.models} == {path.name for path in resnet50.iterdir()}
    assert list(lost(by_hand, resnet50)) == []


def test_the_script_that_serialised_by_hand_is_the_source_as_it_stands(resnet50: Path) -> None:
    assert (resnet50 / "dali/1/model.dali").stat().st_size > 500
    dali = config(resnet50, "dali")
    assert [list(tensor.dims) for tensor in dali.output] == [[3, 224, 224]]
    assert dali.max_batch_size == 256


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("dali-resnet50", "resnet50_trt"),
        ("dali-from-training", "efficientnet-b0"),
        ("python-resnet50", "resnet50_trt"),
    ],
)
def test_the_ensembles_for_a_gpu_are_built(
    name: str, engine: str, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By TensorRT-RTX, which builds without a GPU, in TensorRT's place."""
    monkeypatch.setitem(compiling.MODULES, "tensorrt", ("tensorrt_rtx_bindings",))
    models = build(name, "ensemble-gpu.yaml", prepared, tmp_path)
    assert (models / engine / "1/model.plan").stat().st_size > 1_000_000
    found = config(models, engine)
    assert found.max_batch_size == (256 if name == "dali-resnet50" else 64)
    assert [list(tensor.dims) for tensor in found.input] == [[3, 224, 224]]


def test_packages_that_were_installed_by_hand_are_packed(prepared: Prepared) -> None:
    spec = yaml.safe_load((EXAMPLES / "python-resnet50/ensemble-gpu.yaml").read_text())["spec"]
    assert spec["models"][0]["python"]["environment"]["requirements"] == ["numpy==1.26.4", "pillow==12.0.0"]


def test_the_pipeline_that_the_server_serialises_stays_as_it_is(prepared: Prepared, tmp_path: Path) -> None:
    models = build("dali-from-training", "ensemble.yaml", prepared, tmp_path)
    source = (EXAMPLES / "dali-from-training/dali.py").read_bytes()
    assert (models / "preprocessing/1/dali.py").read_bytes() == source
    assert config(models, "preprocessing").max_batch_size == 64


@pytest.mark.parametrize("engine", [False, True], ids=["onnx", "plan"])
def test_import_gives_the_ensemble_of_the_tutorial(
    prepared: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, engine: bool
) -> None:
    """Whatever the network's file is: a plan is taken over as it stands, too."""
    source = prepared("from-config-pbtxt") / "model_repository"
    repository = tmp_path / "model_repository"
    for path in (file for file in source.rglob("*") if file.is_file()):
        name = str(path.relative_to(source)).replace("model.onnx", "model.plan" if engine else "model.onnx")
        content = path.read_bytes() if path.suffix != ".onnx" or not engine else b"a plan"
        if path.name == "config.pbtxt" and engine:
            content = content.replace(b"onnxruntime_onnx", b"tensorrt_plan")
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes(content)
    uri = "s3://models/examples/from-config-pbtxt/model_repository"
    assert main(["import", str(repository), "--uri", uri, "--check", "-o", "json"]) == Exit.DONE
    found = json.loads(capsys.readouterr().out)["resource"]["spec"]
    stated = yaml.safe_load((EXAMPLES / "from-config-pbtxt/ensemble.yaml").read_text())["spec"]
    assert {**found, "storage": {}} == {**stated, "storage": {}}
