"""The examples' prepared files, and their pipelines and modules run as they are."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from nvidia.dali import Pipeline

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
sys.path.insert(0, str(EXAMPLES))


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def module() -> Callable[[str], ModuleType]:
    """Loads a file of the examples, named from their folder."""
    return lambda path: _module(EXAMPLES / path)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder an example's prepare.py filled, by the example's name."""
    folders: dict[str, Path] = {}

    def prepare(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            _module(EXAMPLES / name / "prepare.py").prepare(folders[name])
        return folders[name]

    return prepare


@pytest.fixture(scope="session")
def pipeline() -> Callable[[str, str], Pipeline]:
    """Builds an example's pipeline for the CPU, as its ensemble.yaml has it."""

    def build(example: str, function: str) -> Pipeline:
        make = runpy.run_path(str(EXAMPLES / example / "pipeline.py"))[function]
        built: Pipeline = make(
            device="cpu", batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1
        )
        built.build()
        return built

    return build
