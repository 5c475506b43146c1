"""status.history: who began a rollout, why, what it changed, and how it ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ensemble_operator.observe.objects import spec_manager
from tests.unit.plan.story import Story
from tests.unit.plan.world import REVISION, SPEC, published

OTHER = "4" * 64
CAUSE = "kubernetes.io/change-cause"
ROLLOUT = {"retainSeconds": 600}


def record(story: Story, index: int = 0) -> dict[str, Any]:
    assert story.last.status is not None
    return dict(story.last.status["history"][index])


def promoted(story: Story, revision: str) -> None:
    story.step()
    if story.jobs("assemble"):  # none where only settings of the servers changed
        story.end("assemble", result=published(revision))
    story.step()
    story.verify_and_promote()


def first() -> Story:
    story = Story(spec_manager="argocd-controller", annotations={CAUSE: "ticket 7"})
    story.change(rollout=ROLLOUT)
    promoted(story, REVISION)
    return story


def test_the_first_says_by_whom_why_and_when() -> None:
    seen = record(first())
    assert (seen["number"], seen["outcome"], seen["changes"]) == (1, "Promoted", "first rollout")
    assert (seen["startedBy"], seen["cause"]) == ("argocd-controller", "ticket 7")
    assert seen["promotedAt"] == seen["finishedAt"]
    assert seen["startedAt"] < seen["verifiedAt"] <= seen["promotedAt"]
    assert "retiredAt" not in seen


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"models": SPEC["models"][:2]}, "removed net"),
        ({"models": [{**SPEC["models"][0], "maxBatchSize": 4}, *SPEC["models"][1:]]}, "changed preprocess"),
        ({"serving": {"podLabels": {"a": "b"}, "replicas": 2}}, "serving.podLabels"),
        (
            {"entrypoint": "classifier", "serving": {"drainSeconds": 9}},
            "added entrypoint; serving.drainSeconds",
        ),
        ({"runtime": {"serverImage": "s:2", "builderImage": "b:2"}}, "added runtime; server image s:2"),
    ],
)
def test_what_a_change_of_the_spec_changed(changes: dict[str, Any], told: str) -> None:
    story = first()
    story.change(rollout=ROLLOUT, **changes)
    promoted(story, OTHER)
    assert record(story)["changes"] == told
    assert (record(story, 1)["outcome"], record(story, 1)["retiredAt"]) == (
        "Superseded",
        record(story)["promotedAt"],
    )


def test_other_bytes_under_the_same_names() -> None:
    story = first()
    story.seen = replace(story.seen, annotations={"ensembles.dev/requestedAt": "now"})
    promoted(story, OTHER)
    assert record(story)["changes"] == "other bytes of the same sources"
    assert "cause" not in record(story)


def test_going_back_is_told_of_both() -> None:
    story = first()
    story.change(rollout=ROLLOUT, models=SPEC["models"][:2])
    promoted(story, OTHER)
    story.seen = replace(story.seen, spec_manager="kubectl-ensemble", annotations={CAUSE: "wrong labels"})
    story.change(rollout={**ROLLOUT, "pinRevision": REVISION}, models=SPEC["models"][:2])
    for _ in range(6):
        story.step(2)
    assert record(story)["outcome"] == "RolledBack"
    again = record(story, 1)
    assert again["outcome"] == "Promoted"
    assert again["message"].startswith("serves again since ")
    assert again["message"].endswith(", by kubectl-ensemble: wrong labels")
    assert again["changes"] == "first rollout"


def test_who_changed_the_spec_last() -> None:
    spec: dict[str, Any] = {"f:spec": {}}
    entries = [
        {"manager": "helm", "time": "2026-01-01T00:00:00Z", "fieldsV1": spec},
        {"manager": "kubectl-edit", "time": "2026-01-02T00:00:00Z", "fieldsV1": spec},
        {"manager": "keda", "time": "2026-01-03T00:00:00Z", "fieldsV1": spec, "subresource": "scale"},
        {"manager": "ensemble-operator", "time": "2026-01-04T00:00:00Z", "fieldsV1": {"f:status": {}}},
    ]
    assert spec_manager({"managedFields": entries}) == "kubectl-edit"
    assert spec_manager({}) == ""
