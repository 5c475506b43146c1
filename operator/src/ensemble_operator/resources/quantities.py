"""Resource requests and limits of containers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ensembles_api.spec import Gpu, Resources

CLAIM = "gpu"
"""Name, within a pod, of the claim that a ResourceClaimTemplate makes for it."""
TOOLS_REQUESTS = {"cpu": "100m", "memory": "128Mi"}
"""For copying files, which streams."""


def requirements(
    *,
    defaults: Mapping[str, str],
    default_limits: Mapping[str, str] | None = None,
    resources: Resources | None = None,
    gpu: Gpu | None = None,
) -> dict[str, Any]:
    """A container's `resources`: what the user states wins, the target's GPUs win over both.

    A default request stands back where the user set only a limit: the API server takes the limit as the
    request, and a default above the limit would be refused. So does a default limit where
    the user set a request.
    """
    requests = _texts(resources.requests) if resources else {}
    limits = _texts(resources.limits) if resources else {}
    unbounded = {key: value for key, value in (default_limits or {}).items() if key not in requests}
    requests = {key: value for key, value in defaults.items() if key not in limits} | requests
    limits = unbounded | limits
    if gpu and not gpu.resource_claim_template_name:
        # Extended resources cannot be overcommitted: request and limit are equal.
        requests[gpu.resource_name] = limits[gpu.resource_name] = str(gpu.count)
    claims = [{"name": CLAIM}] if gpu and gpu.resource_claim_template_name else []
    return {
        "requests": requests,
        **({"limits": limits} if limits else {}),
        **({"claims": claims} if claims else {}),
    }


def canonical(number: int) -> str:
    """A whole number as the API server writes it back: 5000 as 5k."""
    for suffix in ("", "k", "M", "G"):
        if number % 1000 or not number:
            return f"{number}{suffix}"
        number //= 1000
    return f"{number}T"


def _texts(quantities: Mapping[str, int | str] | None) -> dict[str, str]:
    return {key: str(value) for key, value in (quantities or {}).items()}
