"""Offline validation says the same as the API server (see test_apiserver.py: same files)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ensembles_api.validation import Problem, SpecError, parse_spec, validate


def test_accepts(accepted: dict[str, Any]) -> None:
    assert validate(accepted) == []


def test_leaves_the_document_alone(accepted: dict[str, Any]) -> None:
    before = copy.deepcopy(accepted)
    validate(accepted)
    assert accepted == before


def test_rejects_naming_field_and_cure(rejected: Any) -> None:
    problems = validate(rejected.document)
    # Rules of the whole object stand on its root, in CEL as offline.
    fields = {rejected.field, ""} if rejected.field.startswith("metadata") else {rejected.field}
    assert any(problem.field in fields and rejected.message in problem.message for problem in problems), (
        problems
    )


def test_each_rejected_document_has_one_fault(rejected: Any) -> None:
    assert len(validate(rejected.document)) == 1


def test_parse_spec_keeps_what_was_set(accepted: dict[str, Any]) -> None:
    assert parse_spec(accepted["spec"]).to_json() == accepted["spec"]


def test_parse_spec_names_every_field_at_fault() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec({"storage": {"uri": "s3://models", "secretName": "keys"}, "suspend": "no", "replicas": 1})
    assert caught.value.problems == (
        Problem("spec.suspend", "must be true or false"),
        Problem(
            "spec.replicas",
            "unknown field; known here: storage, runtime, models, repository, entrypoint, serving, "
            "autoscaling, build, rollout, verification, gateway, suspend, deletionPolicy, "
            "revisionHistoryLimit",
        ),
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks(value: float) -> None:
    model = {"name": "net", "files": {"uri": "s3://m/n/"}, "config": {"parameters": value}}
    with pytest.raises(SpecError, match="is not JSON"):
        parse_spec({"storage": {"uri": "s3://models", "secretName": "keys"}, "models": [model]})


def test_null_is_as_absent() -> None:
    document = {
        "apiVersion": "ensembles.dev/v1alpha1",
        "kind": "InferenceEnsemble",
        "metadata": {"name": "nulls"},
        "spec": {
            "storage": {"uri": "s3://models", "secretName": "keys", "identity": None, "endpoint": None},
            "models": [{"name": "net", "files": {"uri": "s3://m/n/"}, "dali": None, "labels": None}],
            "entrypoint": None,
        },
    }
    assert validate(document) == []


def test_numbers_beyond_64_bits_are_no_fault_of_ours() -> None:
    """The API server reads them as floating point; what they mean is config's affair."""
    model = {"name": "net", "files": {"uri": "s3://m/n/"}, "config": {"parameters": [2**70, {"x": -(2**64)}]}}
    document = {
        "apiVersion": "ensembles.dev/v1alpha1",
        "kind": "InferenceEnsemble",
        "metadata": {"name": "large"},
        "spec": {"storage": {"uri": "s3://models", "secretName": "keys"}, "models": [model]},
    }
    assert validate(document) == []
