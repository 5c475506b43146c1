"""Plugins are loaded before what needs them is read, and one that cannot be loaded is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble_builder.compilers.tensorrt.library import load_plugins
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Tensor
from ensembles_api.reasons import Reason
from tests.plugins import PIPELINE, compile_library, dali_plugin

from .conftest import Build

DALI_FIELD = "spec.models[3].dali"
ENGINE_FIELD = "spec.models[0].tensorrt"


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return dali_plugin(tmp_path_factory.mktemp("plugin")).read_bytes()


def test_a_pipeline_with_an_operator_of_its_own(build: Build, mirrored: bytes) -> None:
    path = "libmirrored.so"
    built = build(PIPELINE, files={path: mirrored}, plugins=[path], max_batch_size=4)
    assert built.io.outputs == (Tensor(name="DALI_OUTPUT_0", data_type="TYPE_FP32", shape=(-1,)),)
    assert b"Mirrored" in built.file
    assert built.result.samples, "the trial on the CPU loaded it as well"


def test_without_its_plugin_the_pipeline_is_refused(build: Build) -> None:
    assert "mirrored" in build(PIPELINE).fault.message


def test_a_plugin_that_dali_cannot_load_is_named(build: Build) -> None:
    fault = build(PIPELINE, files={"a.so": b"\x7fELF no more"}, plugins=["a.so"]).fault
    assert (fault.code, fault.field) == (Reason.INVALID_PIPELINE, f"{DALI_FIELD}.plugins[0]")
    assert "build it against this DALI" in fault.message


def test_a_layers_library_is_loaded(tmp_path: Path) -> None:
    """What it would register with TensorRT, it does when it is loaded."""
    loaded = tmp_path / "loaded"
    source = tmp_path / "layer.cc"
    source.write_text(f'#include <cstdio>\nstatic auto* file = std::fopen("{loaded}", "w");\n')
    compile_library(source, tmp_path / "layer.so")
    load_plugins([str(tmp_path / "layer.so")], field=ENGINE_FIELD)
    assert loaded.exists()


def test_a_library_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.so"
    bad.write_text("no library")
    with pytest.raises(FaultError) as caught:
        load_plugins([str(bad)], field=ENGINE_FIELD)
    assert caught.value.fault.code is Reason.INVALID_MODEL
    assert caught.value.fault.field == f"{ENGINE_FIELD}.plugins[0]"
