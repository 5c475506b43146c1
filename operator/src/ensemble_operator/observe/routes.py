"""The Gateway API's routes of an ensemble.

Their kinds are optional, and listed once in a while. Where spec.gateway asks for routes that is not enough: a
step of a canary waits until Gateways have accepted a change, and a stranger's route of the same name is in no
list.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import NotFoundError
from ensemble_operator.cluster.kinds import ROUTES
from ensemble_operator.observe.objects import parse_object
from ensemble_operator.observe.routing import Key
from ensemble_operator.plan.observation import ObjectSeen, RoutesSeen

AGAIN = timedelta(seconds=30)
"""No list tells that a stranger's route is gone."""


def read_routes(api: KubernetesApi, key: Key, *, missing: Mapping[str, str]) -> RoutesSeen:
    """The routes named like an ensemble, as they are now.

    Args:
        api: where they are read.
        key: the ensemble.
        missing: kinds that the cluster does not have, and why.

    Raises:
        ensemble_operator.cluster.errors.ApiError: the API server does not answer.
    """
    if absent := [missing[kind.name] for kind in ROUTES if kind.name in missing]:
        return RoutesSeen(missing=absent[0])
    found: list[ObjectSeen] = []
    for kind in ROUTES:
        with suppress(NotFoundError):
            found.append(parse_object(api.get(kind, key.namespace, key.name)))
    return RoutesSeen(tuple(found))
