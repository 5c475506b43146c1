"""What a file leaves out, as those who applied it would remove it (tests/crd asks an API server)."""

from __future__ import annotations

from typing import Any

from ensemble_cli.cluster.applying import applier, without_left_out


def held(manager: str, operation: str, **fields: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields}


def test_the_applier_is_who_holds_most_of_the_spec() -> None:
    entries = [
        held("operator", "Apply", **{"f:status": {"f:stage": {}, "f:conditions": {}}}),
        held("scaler", "Apply", **{"f:spec": {"f:suspend": {}}}),
        held("gitops", "Apply", **{"f:spec": {"f:models": {}, "f:storage": {}}}),
        held("kubectl-edit", "Update", **{"f:spec": {"f:models": {}, "f:storage": {}, "f:serving": {}}}),
    ]

    assert applier({"metadata": {"managedFields": entries}}) == "gitops"
    assert applier({"metadata": {"managedFields": entries[3:]}}) == ""
    assert applier({"metadata": {}}) == ""


def test_a_patch_removes_what_was_applied_and_is_left_out() -> None:
    before = {"spec": {"a": 1, "b": {"c": 2, "d": 3}, "list": [1, 2]}, "metadata": {"labels": {"x": "y"}}}
    after = {"spec": {"b": {"c": 4}, "list": [1], "new": {"e": 5}}, "metadata": {}}

    assert without_left_out(before, after) == {
        "spec": {"a": None, "b": {"c": 4, "d": None}, "list": [1], "new": {"e": 5}},
        "metadata": {"labels": None},
    }
