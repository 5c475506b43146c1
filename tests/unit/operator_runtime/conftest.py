"""Objects as a real Kubernetes 1.36 answered them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CAPTURED = Path(__file__).parent / "captured"


@pytest.fixture
def captured() -> Callable[[str], Any]:
    """Read a captured object, or list of objects, by file name."""

    def read(name: str) -> Any:
        return json.loads((CAPTURED / f"{name}.json").read_text())

    return read
