"""The Job around a pod, the same for every role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ensemble_operator import names
from ensemble_operator.resources import pods
from ensemble_operator.resources.pods import Json


def attempt_annotations(attempt: int, first_failure: datetime | None) -> dict[str, str]:
    failed = {names.ANNOTATION_FIRST_FAILURE: first_failure.isoformat()} if first_failure else {}
    return {names.ANNOTATION_ATTEMPT: str(attempt), **failed}


def job(
    name: str,
    *,
    namespace: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    owners: Sequence[Mapping[str, Any]],
    deadline: int,
    pod: Mapping[str, Any],
    pod_annotations: Mapping[str, str] | None = None,
) -> Json:
    """A Job with one pod and no retries of its own.

    The deadline (seconds) stands on the pod: a Job's own runs while its pod waits for a node. A disrupted pod
    is replaced by the Job controller and counts for nothing.
    """
    metadata: Json = {
        "name": name,
        "namespace": namespace,
        "labels": dict(labels),
        "annotations": dict(annotations),
    }
    if owners:
        metadata["ownerReferences"] = [dict(owner) for owner in owners]
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": disrupted}]},
            "template": {
                "metadata": {
                    "labels": {**labels, **pods.NO_SIDECARS},
                    "annotations": {**annotations, **(pod_annotations or {}), **pods.NO_SIDECARS},
                },
                "spec": {"restartPolicy": "Never", "activeDeadlineSeconds": deadline, **pod},
            },
        },
    }
