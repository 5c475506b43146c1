"""The Gateway API's routes of an ensemble.

Their API is none of Kubernetes' own: it may be absent, and come while the operator runs. They are not
watched, but read where spec.gateway asks for them, or where a former spec may have left some behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import ForbiddenError, NotFoundError
from ensemble_operator.cluster.kinds import GRPC_ROUTE, HTTP_ROUTE, Kind
from ensemble_operator.observe.objects import parse_object
from ensemble_operator.observe.routing import Key
from ensemble_operator.plan.observation import ObjectSeen, RoutesSeen

AGAIN = timedelta(seconds=30)
"""No event tells of a route that was edited, or that a Gateway refuses."""
FRESH_SECONDS = 20.0
"""How long an absent API is taken for absent without asking again."""


class GatewayRoutes:
    """Reads routes. Usable from several threads.

    Args:
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(self, api: KubernetesApi, *, monotonic: Callable[[], float]) -> None:
        self._api = api
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._missing: tuple[float, str] | None = None
        self._clean: dict[Key, tuple[str, int]] = {}
        """uid and generation of ensembles without spec.gateway that have no routes."""

    def seen(self, key: Key, *, version: tuple[str, int], wanted: bool) -> RoutesSeen:
        """The routes named like an ensemble.

        Args:
            key: the ensemble.
            version: its uid and generation.
            wanted: whether its spec asks for routes.

        Raises:
            ensemble_operator.cluster.errors.ApiError: the API server does not answer.
        """
        with self._lock:
            missing, now = self._missing, self._monotonic()
            if not wanted and self._clean.get(key) == version:
                return RoutesSeen()
        if missing is not None and now - missing[0] < FRESH_SECONDS:
            return RoutesSeen(missing=missing[1])
        routes = self._read(key)
        with self._lock:
            if not wanted and not routes.found:
                self._clean[key] = version
            else:
                self._clean.pop(key, None)
        return routes

    def forget(self, key: Key) -> None:
        with self._lock:
            self._clean.pop(key, None)

    def _read(self, key: Key) -> RoutesSeen:
        read = [self._get(kind, key) for kind in (HTTP_ROUTE, GRPC_ROUTE)]
        missing = next((answer for answer in read if isinstance(answer, str)), "")
        return RoutesSeen(tuple(answer for answer in read if isinstance(answer, ObjectSeen)), missing)

    def _get(self, kind: Kind, key: Key) -> ObjectSeen | str | None:
        """The route, None where there is none, or why there can be none."""
        try:
            return parse_object(self._api.get(kind, key.namespace, key.name))
        except ForbiddenError as error:
            return error.message
        except NotFoundError as error:
            # Of an object that is absent the server gives the name; of an unknown kind it cannot.
            if f'"{key.name}"' in error.message:
                return None
            missing = f"the cluster does not serve {kind.name} of {kind.api_version}"
            with self._lock:
                # Of two that are missing always the same one is told: the message shall not come and go.
                if kind == HTTP_ROUTE or self._missing is None:
                    self._missing = (self._monotonic(), missing)
            return missing
