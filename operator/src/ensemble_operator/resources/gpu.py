"""Placing pods on the nodes that have a target's GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ensembles_api.spec import Gpu

PRODUCT_LABEL = "nvidia.com/gpu.product"
"""Set by NVIDIA's GPU feature discovery."""


def node_selector(wanted: Mapping[str, str], gpu: Gpu | None) -> dict[str, str]:
    product = {PRODUCT_LABEL: gpu.product} if gpu and gpu.product else {}
    return {**wanted, **product}


def tolerations(wanted: Sequence[Mapping[str, Any]], gpu: Gpu | None) -> list[dict[str, Any]]:
    """GPU nodes are often tainted with the name of the resource (ExtendedResourceToleration counts on it)."""
    given = [dict(toleration) for toleration in wanted]
    if gpu is None or any(toleration.get("key") == gpu.resource_name for toleration in given):
        return given
    return [*given, {"key": gpu.resource_name, "operator": "Exists", "effect": "NoSchedule"}]
