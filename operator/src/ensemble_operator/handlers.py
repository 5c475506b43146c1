"""What kopf is for: watch streams. Every event goes into the cache and, where it is news, into the queue.

Only `on.event` handlers: they write nothing to the objects. Change handlers, daemons and timers would put
annotations and finalizers on resources that GitOps tools own, and a daemon would not see a deletion that
happened while the operator was down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import kopf
from kubernetes.client import Configuration

from ensemble_operator.cluster.kinds import WATCHED, Kind, selector_of
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.observe.routing import Key, keys_of

CLIENT_TIMEOUT_SECONDS = 330
SERVER_TIMEOUT_SECONDS = 300
"""Streams are renewed by the server, and by the client where the server has gone silent."""

RETRY_SECONDS = (0.5, 1.0, 1.0, 2.0, 2.0, *[5.0] * 60)
"""Between tries to reach an API server that is away; after five minutes the process ends and is restarted."""

_log = logging.getLogger(__name__)


def build_registry(
    cluster: Configuration, cache: ObjectCache, enqueue: Callable[[Key], None]
) -> kopf.OperatorRegistry:
    """Handlers for all kinds of interest.

    Args:
        cluster: address and credentials.
        cache: takes what the streams bring.
        enqueue: called with every ensemble that an event concerns.
    """
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login_handler(cluster))
    for kind in WATCHED:
        handler = _event_handler(kind, cache, enqueue)
        kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)(handler)
    return registry


def build_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # the kinds are known; watching CRDs would need more permissions
    settings.watching.server_timeout = SERVER_TIMEOUT_SECONDS
    settings.watching.client_timeout = CLIENT_TIMEOUT_SECONDS
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = RETRY_SECONDS
    settings.process.ultimate_exiting_timeout = 30
    for kind in WATCHED:
        if selector := selector_of(kind):
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = selector
    return settings


def take_event(
    kind: Kind, event: Mapping[str, Any], cache: ObjectCache, enqueue: Callable[[Key], None]
) -> None:
    """Put one watch event where it belongs."""
    # Items of a list come without their type.
    manifest = {"apiVersion": kind.api_version, "kind": kind.name, **event["object"]}
    if cache.watched(event["type"], manifest):
        for key in keys_of(manifest, cache):
            enqueue(key)


def _event_handler(kind: Kind, cache: ObjectCache, enqueue: Callable[[Key], None]) -> Any:
    async def handle(event: Mapping[str, Any], **_: Any) -> None:
        take_event(kind, event, cache, enqueue)

    return handle


def _login_handler(cluster: Configuration) -> Any:
    def login(**_kwargs: Any) -> kopf.ConnectionInfo:
        # Service account tokens change; asking for the key reads the present one.
        scheme, _space, token = (cluster.get_api_key_with_prefix("BearerToken") or "").rpartition(" ")
        return kopf.ConnectionInfo(
            server=cluster.host,
            ca_path=cluster.ssl_ca_cert,
            insecure=not cluster.verify_ssl,
            certificate_path=cluster.cert_file,
            private_key_path=cluster.key_file,
            scheme=scheme or None,
            token=token or None,
        )

    return login
