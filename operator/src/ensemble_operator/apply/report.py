"""Writes the status and posts Events."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ensemble_operator.apply.executor import Recorder, Target
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import (
    AlreadyExistsError,
    ApiError,
    InvalidError,
    NamespaceTerminatingError,
    NotFoundError,
)
from ensemble_operator.cluster.kinds import ENSEMBLE, EVENT
from ensemble_operator.plan.actions import Event
from ensembles_api.names import API_VERSION, GROUP, KIND

Object = Mapping[str, Any]

NOTE_LIMIT = 1024
"""Bytes of an Event's message."""
DUPLICATE_SECONDS = 60
"""The same Event again within this time comes from a stale look and says nothing new."""
_REMEMBERED = 10_000
_CONTROLLER = f"{GROUP}/operator"

_log = logging.getLogger(__name__)


class Reporter:
    """Status and Events of InferenceEnsembles. Usable from several threads.

    Args:
        instance: name of this operator's pod.
    """

    def __init__(
        self, api: KubernetesApi, recorder: Recorder, *, instance: str, now: Callable[[], datetime]
    ) -> None:
        self._api = api
        self._recorder = recorder
        self._instance = instance
        self._now = now
        self._lock = threading.Lock()
        self._posted: dict[str, tuple[datetime, int]] = {}

    def write_status(self, target: Target, status: Object, *, before: Object) -> bool:
        """Make the status exactly this; metadata and spec are not touched. Returns whether it was written.

        Args:
            target: the resource; one that is gone or re-created is left alone.
            status: the whole document.
            before: as it was seen.

        Raises:
            ensemble_operator.cluster.errors.ApiError: the request failed.
        """
        if status == before:
            return False
        # The status subresource ignores metadata.uid as a precondition, so the patch itself tests it.
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": target.uid},
            {"op": "add", "path": "/status", "value": status},
        ]
        try:
            written = self._api.patch(
                ENSEMBLE, target.namespace, target.name, patch, patch_type="json", subresource="status"
            )
        except NotFoundError:
            return False
        except InvalidError:
            if self._is_another(target):
                return False
            raise
        return self._recorder.store(written)

    def _is_another(self, target: Target) -> bool:
        """Whether the name belongs to a resource created since."""
        try:
            live = self._api.get(ENSEMBLE, target.namespace, target.name)
        except NotFoundError:
            return True
        return bool(live["metadata"]["uid"] != target.uid)

    def post(self, target: Target, event: Event) -> None:
        """Post an Event on the resource. Failures are only logged: an Event is not worth a retry."""
        now = self._now()
        name = _event_name(target, event)
        with self._lock:
            last, count = self._posted.get(name, (None, 0))
            if last is not None and now - last < timedelta(seconds=DUPLICATE_SECONDS):
                return
            self._posted[name] = (now, count + 1)
            while len(self._posted) > _REMEMBERED:
                del self._posted[next(iter(self._posted))]
        try:
            self._send(target, event, name=name, now=now, count=count + 1)
        except NamespaceTerminatingError:
            return  # nobody will read it
        except ApiError as error:
            extra = {"key": f"{target.namespace}/{target.name}", "error": str(error)}
            _log.warning("event not posted", extra=extra)

    def _send(self, target: Target, event: Event, *, name: str, now: datetime, count: int) -> None:
        try:
            self._api.create(EVENT, self._manifest(target, event, name=name, now=now))
        except AlreadyExistsError:
            again = {"count": max(count, 2), "lastTimestamp": _time(now)}
            self._api.patch(EVENT, target.namespace, name, again)

    def _manifest(self, target: Target, event: Event, *, name: str, now: datetime) -> Object:
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"namespace": target.namespace, "name": name},
            "firstTimestamp": _time(now),
            "lastTimestamp": _time(now),
            "count": 1,
            "source": {"component": _CONTROLLER},
            "reportingComponent": _CONTROLLER,
            "reportingInstance": self._instance,
            "action": event.reason,
            "reason": event.reason,
            "type": event.type,
            "message": event.message.encode()[:NOTE_LIMIT].decode(errors="ignore"),
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": target.namespace,
                "name": target.name,
                "uid": target.uid,
            },
        }


def _event_name(target: Target, event: Event) -> str:
    """The same for the same news of the same resource, so that a restarted operator does not repeat it."""
    text = f"{target.uid} {event.type} {event.reason} {event.message}"
    return f"{target.name}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
