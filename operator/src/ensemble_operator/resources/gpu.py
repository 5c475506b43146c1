"""Placing pods on the nodes that have a target's GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ensemble_operator.resources.quantities import CLAIM
from ensembles_api.spec import Gpu

PRODUCT_LABEL = "nvidia.com/gpu.product"
"""Set by NVIDIA's GPU feature discovery."""


def node_selector(wanted: Mapping[str, str], gpu: Gpu | None) -> dict[str, str]:
    """A claim selects its device by itself, and where there are claims nodes need not bear the label."""
    if gpu is None or not gpu.product or gpu.resource_claim_template_name:
        return dict(wanted)
    return {**wanted, PRODUCT_LABEL: gpu.product}


def claims(gpu: Gpu | None) -> list[dict[str, Any]]:
    """The pod's resourceClaims: one, made from the template, where the target names one."""
    if gpu is None or not gpu.resource_claim_template_name:
        return []
    return [{"name": CLAIM, "resourceClaimTemplateName": gpu.resource_claim_template_name}]


def tolerations(wanted: Sequence[Mapping[str, Any]], gpu: Gpu | None) -> list[dict[str, Any]]:
    """GPU nodes are often tainted with the name of the resource (ExtendedResourceToleration counts on it)."""
    given = [dict(toleration) for toleration in wanted]
    if gpu is None or any(toleration.get("key") == gpu.resource_name for toleration in given):
        return given
    return [*given, {"key": gpu.resource_name, "operator": "Exists", "effect": "NoSchedule"}]
