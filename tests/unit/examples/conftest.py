"""Where the examples lie, and their prepared files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
sys.path.insert(0, str(EXAMPLES))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory):
    """Gives the folder an example's prepare.py filled, by the example's name."""
    folders: dict[str, Path] = {}

    def prepare(name: str) -> Path:
        if name not in folders:
            spec = importlib.util.spec_from_file_location("prepare", EXAMPLES / name / "prepare.py")
            assert spec
            assert spec.loader
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            folders[name] = tmp_path_factory.mktemp(name)
            module.prepare(folders[name])
        return folders[name]

    return prepare
