"""Prometheus' own programs, built from its Go module the first time."""

from __future__ import annotations

from pathlib import Path

import pytest
from localcluster import build

from tests.conftest import CACHE


@pytest.fixture(scope="session")
def promtool() -> Path:
    build.build(CACHE, only=["prometheus"])
    return CACHE / "bin" / "promtool"
