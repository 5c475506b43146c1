"""A build on a disk without room: the world's fault, tried again. The disk is a real one, of 300 KiB."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ensemble_builder.commands import compile as compiling
from ensemble_builder.compilers.parameters import DaliParameters, TensorRTParameters
from ensembles_api.contract import BuildOrder, CompileResult, Document
from ensembles_api.reasons import Reason
from tests.unit.compilers.conftest import HEADER
from tests.unit.compilers.engine_building import convolution

PIPELINE = f"""{HEADER}
@pipeline_def(batch_size=1)
def doubled():
    return fn.external_source(name="x", ndim=1, dtype=types.FLOAT) * 2
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def compiled(disk: Path, kind: Any, source: bytes, parameters: Document, *, free: int) -> CompileResult:
    """The result of a build that begins with so many bytes of room."""
    (disk / "in").mkdir()
    (disk / "in" / {"dali": "pipeline.py"}.get(kind, "model.onnx")).write_bytes(source)
    order = BuildOrder(
        kind=kind,
        key="0" * 64,
        model="net",
        version=1,
        field="spec.models[0]",
        gpu=True,
        inputs=(),
        parameters=parameters.model_dump(mode="json"),
    )
    (disk / "order.json").write_bytes(order.canonical())
    (disk / "filling").write_bytes(bytes(shutil.disk_usage(disk).free - free))
    result = compiling.run(disk)
    assert json.loads((disk / "out/result.json").read_bytes()) == json.loads(result.canonical())
    return result


@pytest.mark.parametrize(
    ("kind", "source", "parameters"),
    [
        ("dali", PIPELINE.encode(), DaliParameters()),
        ("tensorrt", convolution(), TensorRTParameters(max_batch_size=2)),
    ],
)
def test_a_full_disk_is_no_fault_of_the_model(
    disk: Path, kind: str, source: bytes, parameters: Document
) -> None:
    result = compiled(disk, kind, source, parameters, free=40 << 10)

    assert result.fault is not None
    assert result.fault.code is Reason.JOB_FAILED
    assert "disk is full" in result.fault.message


def test_the_result_takes_the_place_of_an_artifact_that_left_it_no_room(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifact fits just so."""

    def fill(_: BuildOrder, work: Path) -> CompileResult:
        (work / "out/model.plan").write_bytes(bytes(shutil.disk_usage(disk).free))
        return CompileResult(files=("model.plan",))

    monkeypatch.setattr(compiling, "_compile", fill)
    result = compiled(disk, "tensorrt", convolution(), TensorRTParameters(), free=40 << 10)

    assert result.fault is not None
    assert result.fault.code is Reason.JOB_FAILED
    assert not (disk / "out/model.plan").exists()
