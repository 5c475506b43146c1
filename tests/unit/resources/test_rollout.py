"""Rollouts outlive operators: what one version stored, every later one must understand in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.rollout import RolloutData
from ensemble_operator.resources.servers import server_deployment
from ensembles_api.names import LABEL_ROLLOUT

STORED = Path(__file__).parent / "stored"
FILES = sorted(STORED.glob("*.yaml"))


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def stored(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A ControllerRevision as some version of the operator wrote it; these files are never regenerated."""
    document: dict[str, Any] = yaml.safe_load(request.param.read_text())
    return document


def test_there_are_stored_rollouts() -> None:
    assert FILES


def test_a_stored_rollout_keeps_its_name(stored: dict[str, Any]) -> None:
    data = RolloutData.model_validate(stored["data"])
    assert data.rollout_hash() == stored["metadata"]["labels"][LABEL_ROLLOUT], (
        "the hash of a stored rollout has changed: after an update of the operator its servers would not be "
        "recognised, and the Service would move to servers that do not exist. A new field must not change "
        "the hash of data written without it"
    )


def test_a_stored_rollout_renders_as_the_data_it_came_from(stored: dict[str, Any]) -> None:
    data = RolloutData.model_validate(stored["data"])
    again = RolloutData.model_validate(data.model_dump(mode="json", exclude_none=True))
    assert again == data
    owner = Owner(namespace="n", name="e", uid="u")
    for target in data.targets:
        of_target: dict[str, Any] = {
            "owner": owner,
            "target": target,
            "tools_image": "tools:1",
            "replicas": 1,
        }
        first, second = (
            server_deployment(data=one, rollout=one.rollout_hash(), **of_target) for one in (data, again)
        )
        assert first == second
