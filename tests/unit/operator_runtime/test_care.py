"""Which actions ask for a fresh look first: those that cannot be taken back, or that cost a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from ensemble_operator.plan.actions import (
    Action,
    AddOwner,
    Annotate,
    Apply,
    Create,
    Delete,
    LeaveJob,
    Scale,
    SetFinalizer,
)
from ensemble_operator.reconcile import needs_fresh_look


def job(**limits: int) -> dict[str, Any]:
    container = {"name": "c", "resources": {"limits": limits}}
    return {
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {"template": {"spec": {"initContainers": [container], "containers": [{"name": "d"}]}}},
    }


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Delete("Job", "j", "u"), True),
        (LeaveJob("j", "u"), True),
        (SetFinalizer(present=False), True),
        (Apply({"kind": "Service", "metadata": {"name": "s"}}), True),
        (Create(job(**{"nvidia.com/gpu": 1, "memory": 1})), True),
        (Create(job(memory=1)), False),
        (Create({"kind": "ConfigMap", "metadata": {"name": "c"}}), False),
        (Apply({"kind": "Deployment", "metadata": {"name": "d"}}), False),
        (SetFinalizer(present=True), False),
        (Scale("d", 1), False),
        (AddOwner("j", "u"), False),
        (Annotate("Job", "j", "u", {}), False),
    ],
)
def test_fresh_look(action: Action, expected: object) -> None:
    assert needs_fresh_look(action) is expected
