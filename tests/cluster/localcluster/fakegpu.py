"""Fake GPUs: an extended resource the node only claims to have.

Scheduler and kubelet count it like a real one, so that waiting for a GPU, exhausting it and giving it back
can be tested on a machine without any. No device reaches a container.
"""

import json
from pathlib import Path

from localcluster import api
from localcluster.errors import ClusterError
from localcluster.settings import NODE_NAME, Settings

RESOURCE = "nvidia.com/gpu"
PRODUCT_LABEL = "nvidia.com/gpu.product"


def advertise(settings: Settings, count: int, product: str) -> None:
    """Let the node claim ``count`` GPUs of ``product``; 0 takes the claim back.

    Raises:
        ClusterError: a negative count, or the API server refuses.

    """
    if count < 0:
        raise ClusterError(f"fake-gpu {count}: the number of fake GPUs cannot be negative")
    _file(settings).write_text(json.dumps({"count": count, "product": product}))
    _apply(settings, count, product)


def restore(settings: Settings) -> None:
    """Repeat the claim: a kubelet that starts anew sets resources it does not know to zero."""
    try:
        claim = json.loads(_file(settings).read_text())
    except FileNotFoundError:
        return
    _apply(settings, claim["count"], claim["product"])


def _apply(settings: Settings, count: int, product: str) -> None:
    capacity = {RESOURCE: str(count) if count else None}
    status = json.dumps({"status": {"capacity": capacity, "allocatable": capacity}})
    api.kubectl(settings, "patch", "node", NODE_NAME, "--subresource=status", "--type=merge", "-p", status)
    labels = json.dumps({"metadata": {"labels": {PRODUCT_LABEL: product if count else None}}})
    api.kubectl(settings, "patch", "node", NODE_NAME, "--type=merge", "-p", labels)


def _file(settings: Settings) -> Path:
    return settings.state / "fake-gpu.json"
