"""Several versions of one model share a config."""

from __future__ import annotations

from typing import Any

from ensemble_builder.modelconfig import MemberVersion
from ensemble_builder.modelconfig.members import VersionKind
from ensembles_api.contract import ModelIO
from ensembles_api.reasons import Reason
from tests.unit.modelconfig.repository import (
    CLASSIFIER,
    SOURCE,
    Entry,
    built,
    fault_of,
    io,
    miswired,
    refused,
    step,
    steps,
    tensor,
)

OTHER = io(CLASSIFIER.inputs, [tensor("logits", "FP32", 10)])


def versioned(
    *items: tuple[int, VersionKind, ModelIO | None], config: dict[str, Any] | None = None, **document: Any
) -> Entry:
    versions = [{"version": number, kind: {"source": SOURCE}} for number, kind, _ in items]
    return Entry(
        {"name": "m", "versions": versions, "config": config or {}, **document},
        tuple(MemberVersion(number, kind, tensors) for number, kind, tensors in items),
    )


ALL: dict[str, Any] = {"version_policy": {"all": {}}}


def test_equal_tensors_make_one_config() -> None:
    entry = versioned((1, "onnxruntime", CLASSIFIER), (3, "onnxruntime", CLASSIFIER), config=ALL)
    repository = built(entry)
    assert "version_policy {\n  all { }\n}" in repository.configs["m"]
    assert repository.warnings == ()


def test_older_versions_without_a_policy_are_warned_of() -> None:
    entry = versioned((1, "onnxruntime", CLASSIFIER), (3, "onnxruntime", CLASSIFIER))
    (warning,) = built(entry).warnings
    assert warning.startswith("spec.models[0]: version 1 of m will not be served")
    assert "version_policy: {all: {}}" in warning
    assert "version_policy" not in built(entry).configs["m"]


def test_different_tensors() -> None:
    entry = versioned((1, "onnxruntime", OTHER), (3, "onnxruntime", CLASSIFIER), config=ALL)
    refused(
        fault_of(entry),
        "spec.models[0].versions",
        "versions 1 and 3",
        "output logits is FP32[10] in the one",
        "FP32[1000] in the other",
        "separate models",
    )


def test_only_one_batches() -> None:
    fixed = io(CLASSIFIER.inputs, CLASSIFIER.outputs, batchable=False)
    entry = versioned((1, "onnxruntime", fixed), (2, "onnxruntime", CLASSIFIER), config=ALL)
    refused(fault_of(entry), "spec.models[0].versions", "only one of them can batch")


def test_the_least_batch_size_holds_for_all() -> None:
    small, large = (CLASSIFIER.model_copy(update={"max_batch_size": size}) for size in (8, 32))
    entry = versioned((1, "tensorrt", small), (2, "tensorrt", large), config=ALL)
    assert built(entry).parsed["m"].max_batch_size == 8


def test_different_kinds() -> None:
    entry = versioned((1, "onnxruntime", CLASSIFIER), (2, "tensorrt", CLASSIFIER), config=ALL)
    refused(fault_of(entry), "spec.models[0].versions", "onnxruntime and tensorrt", code=Reason.INVALID_SPEC)


def test_a_policy_that_serves_nothing() -> None:
    entry = versioned(
        (1, "onnxruntime", CLASSIFIER), config={"version_policy": {"specific": {"versions": [2]}}}
    )
    refused(fault_of(entry), "spec.models[0].config.version_policy", "none of the model's versions 1")


def test_a_step_may_only_call_a_served_version() -> None:
    entry = versioned((1, "onnxruntime", CLASSIFIER), (3, "onnxruntime", CLASSIFIER))
    links = ({"input": "x"}, {"logits": "y"})
    built(entry, steps("e", step("m", *links, version=3)))
    fault = fault_of(entry, steps("e", step("m", *links, version=1)))
    miswired(
        fault,
        "spec.models[1].ensemble.steps[0].version",
        "version 1 of m is not served, only 3",
        "version_policy",
    )


def test_two_versions_in_one_ensemble() -> None:
    entry = versioned((1, "onnxruntime", CLASSIFIER), (3, "onnxruntime", CLASSIFIER), config=ALL)
    repository = built(
        entry,
        steps(
            "e",
            step("m", {"input": "x"}, {"logits": "old"}, version=1),
            step("m", {"input": "x"}, {"logits": "new"}, version=3),
        ),
    )
    config = repository.parsed["e"]
    assert [item.model_version for item in config.ensemble_scheduling.step] == [1, 3]
    assert [output.name for output in config.output] == ["old", "new"]
    assert [item.name for item in config.input] == ["x"]


def test_a_version_not_built_yet_is_left_out_of_the_comparison() -> None:
    entry = versioned((1, "dali", None), (2, "dali", CLASSIFIER), config=ALL)
    assert built(entry, partial=True).parsed["m"].input
