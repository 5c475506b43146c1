"""PodDisruptionBudgets: node drains take the servers of a target one at a time."""

from __future__ import annotations

from typing import Any

from ensemble_operator import names
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.servers import server_selector
from ensembles_api.contract import TargetRequest
from ensembles_api.names import LABEL_ROLLOUT, LABEL_TARGET


def disruption_budget(*, owner: Owner, rollout: str, target: TargetRequest) -> dict[str, Any]:
    """For Deployments of more than one replica: with a single one it would hold up every drain.

    Pods that are not ready may always be evicted: they serve nobody, and a broken rollout must not block a
    node.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": owner.metadata(
            names.deployment(owner.name, rollout, target.name),
            labels=owner.labels("budget", **{LABEL_ROLLOUT: rollout, LABEL_TARGET: target.name}),
        ),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": server_selector(owner, rollout, target.name)},
        },
    }
