"""GPU products of the cluster's nodes.

Nodes change all the time and are many: they are not watched, but listed when an engine's target leaves the
product open, or a pod waits for a product.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import ForbiddenError
from ensemble_operator.cluster.kinds import NODE
from ensemble_operator.plan.observation import GpuOffer
from ensemble_operator.resources.gpu import PRODUCT_LABEL

FRESH_SECONDS = 10.0


class GpuNodes:
    """What the nodes offer. Usable from several threads.

    Args:
        readable: whether the operator may read nodes.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(self, api: KubernetesApi, *, readable: bool, monotonic: Callable[[], float]) -> None:
        self._api = api
        self._readable = readable
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._look: tuple[float, frozenset[GpuOffer] | None] | None = None

    def offers(self) -> frozenset[GpuOffer] | None:
        """Every product with the resources under which nodes offer it; None where nodes cannot be read.

        Raises:
            ensemble_operator.cluster.errors.ApiError: the API server does not answer.
        """
        if not self._readable:
            return None
        with self._lock:
            look, now = self._look, self._monotonic()
        if look is None or now - look[0] >= FRESH_SECONDS:
            look = (now, self._list())
            with self._lock:
                self._look = look
        return look[1]

    def _list(self) -> frozenset[GpuOffer] | None:
        try:
            nodes = self._api.list(NODE, label_selector=PRODUCT_LABEL).items
        except ForbiddenError:
            return None
        return frozenset(map(offer_of, nodes))


def offer_of(node: Mapping[str, Any]) -> GpuOffer:
    """A node that bears the product's label.

    Its capacity counts devices even while the device plugin restarts and nothing is allocatable, and goes on
    naming a resource with 0 once they are gone.
    """
    capacity = node.get("status", {}).get("capacity") or {}
    extended = {name: str(count) != "0" for name, count in capacity.items() if "/" in name}
    return GpuOffer(
        product=node["metadata"]["labels"][PRODUCT_LABEL],
        resources=frozenset(name for name, some in extended.items() if some),
        none_left=frozenset(name for name, some in extended.items() if not some),
    )
