"""What status tells of the number of servers: each target's autoscaler, and the Scale of the resource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ensemble_operator.plan import history
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.healing import deployments_of
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.resources.autoscalers import HPA
from ensemble_operator.resources.servers import server_selector
from ensembles_api.names import LABEL_TARGET
from ensembles_api.status import ScaleStatus

MESSAGE_LENGTH = 512
FAILURES = frozenset({"AbleToScale", "ScalingActive", "Ready"})
"""Conditions of a HorizontalPodAutoscaler, and of a ScaledObject, that are False where nothing is scaled."""


def desired_replicas(observation: Observation, target: str) -> int | None:
    """What the target's autoscaler wants; KEDA's says so in the HorizontalPodAutoscaler that it makes."""
    wanted = (manifest.get("status", {}).get("desiredReplicas") for manifest in _of(observation, target))
    return next((count for count in wanted if count is not None), None)


def problem(observation: Observation, target: str) -> str | None:
    """Why the target's autoscaler cannot scale."""
    failed = (
        f"{condition.get('reason')}: {condition.get('message')}"[:MESSAGE_LENGTH]
        for manifest in _of(observation, target)
        for condition in manifest.get("status", {}).get("conditions") or ()
        if condition["status"] == "False" and condition["type"] in FAILURES
    )
    return next(failed, None)


def _of(observation: Observation, target: str) -> Iterable[Mapping[str, Any]]:
    found = [seen.manifest for seen in observation.autoscalers if seen.labels.get(LABEL_TARGET) == target]
    return sorted(found, key=lambda manifest: manifest["kind"] != HPA)


def scale(observation: Observation, rollout: RolloutSeen | None) -> ScaleStatus | None:
    """spec.serving.replicas is the number of each target, so the first one alone is counted and measured."""
    if rollout is None:
        return None
    name, target = history.rollout_name(rollout), rollout.data.targets[0].name
    labels = server_selector(owner_of(observation), name, target)
    there = [d for d in deployments_of(observation, name) if d.labels.get(LABEL_TARGET) == target]
    return ScaleStatus(
        replicas=sum(d.manifest.get("status", {}).get("replicas", 0) for d in there),
        selector=",".join(f"{key}={value}" for key, value in sorted(labels.items())),
    )
