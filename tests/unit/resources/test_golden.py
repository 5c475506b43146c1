"""What is rendered is what was reviewed. `UPDATE_GOLDEN=1 pytest tests/unit/resources` writes the files anew,
but never those of servers: see `servers_message`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

GOLDEN = Path(__file__).parent / "golden"

servers_message = """
The Deployment of a rollout is rendered differently than before. Running servers would be restarted by a mere
update of the operator, so:
  1. raise RENDERER_VERSION in ensemble_operator/resources/rollout.py,
  2. run UPDATE_GOLDEN=1 pytest tests/unit/resources, which writes golden/servers/renderer-<version>,
  3. review the new files against the old ones.
"""


def test_rendered_as_reviewed(case: str, rendered: list[dict[str, Any]]) -> None:
    file = GOLDEN / f"{case}.yaml"
    of_servers = case.startswith("servers/")
    if os.environ.get("UPDATE_GOLDEN") and not (of_servers and file.exists()):
        file.parent.mkdir(parents=True, exist_ok=True)
        copies = [
            json.loads(json.dumps(manifest)) for manifest in rendered
        ]  # shared parts would become anchors
        file.write_text(yaml.safe_dump_all(copies, sort_keys=False, width=110))
    reviewed = list(yaml.safe_load_all(file.read_text()))
    assert rendered == reviewed, servers_message if of_servers else f"{file.name} differs; see UPDATE_GOLDEN"


def test_every_golden_file_is_rendered(request: pytest.FixtureRequest) -> None:
    names = {path.relative_to(GOLDEN).with_suffix("").as_posix() for path in GOLDEN.rglob("*.yaml")}
    current = {
        item.callspec.params["case"]
        for item in request.session.items
        if item.path == request.path and isinstance(item, pytest.Function) and hasattr(item, "callspec")
    }
    stale = {name for name in names - current if not name.startswith("servers/")}
    assert not stale, f"no test renders these any more, delete them: {sorted(stale)}"
