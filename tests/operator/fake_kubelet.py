"""Plays the kubelet on a control plane without nodes: pods end or get ready as a test wants.

What images would do is invented here; everything that controllers do with it is real.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import ApiError
from ensemble_operator.cluster.kinds import POD

Pod = Mapping[str, Any]
Verdict = Mapping[str, Any] | None
"""The pod's status; None leaves it pending."""

_addresses = itertools.count(1)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _container(name: str, state: Mapping[str, Any], *, ready: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "image": "fake",
        "imageID": "fake",
        "ready": ready,
        "restartCount": 0,
        "started": ready,
        "state": state,
    }


def succeeded(pod: Pod, messages: Mapping[str, str]) -> dict[str, Any]:
    """All containers end well; `messages` are their termination messages."""
    return _ended(pod, messages, code=0, phase="Succeeded")


def failed(pod: Pod, messages: Mapping[str, str]) -> dict[str, Any]:
    return _ended(pod, messages, code=1, phase="Failed")


def _ended(pod: Pod, messages: Mapping[str, str], *, code: int, phase: str) -> dict[str, Any]:
    def state(container: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "terminated": {
                "exitCode": code,
                "reason": "Error" if code else "Completed",
                "message": messages.get(container["name"], ""),
                "startedAt": _now(),
                "finishedAt": _now(),
            }
        }

    spec = pod["spec"]
    return {
        "phase": phase,
        "startTime": _now(),
        "initContainerStatuses": [_container(c["name"], state(c)) for c in spec.get("initContainers") or ()],
        "containerStatuses": [_container(c["name"], state(c)) for c in spec["containers"]],
    }


def ready(pod: Pod) -> dict[str, Any]:
    """Running and ready, with an address nobody answers at."""
    address = f"192.0.2.{next(_addresses) % 250 + 1}"
    conditions = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    return {
        "phase": "Running",
        "startTime": _now(),
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": name, "status": "True", "lastTransitionTime": _now()} for name in conditions],
        "containerStatuses": [
            _container(c["name"], {"running": {"startedAt": _now()}}, ready=True)
            for c in pod["spec"]["containers"]
        ],
    }


class FakeKubelet:
    """Decides once for each pod of a namespace, as soon as the decision is not None."""

    def __init__(self, api: KubernetesApi, namespace: str, decide: Callable[[Pod], Verdict]) -> None:
        self.decide = decide
        self._api = api
        self._namespace = namespace
        self._decided: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-kubelet", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            with contextlib.suppress(ApiError):  # the pod is gone, or the server restarts
                self._round()

    def _round(self) -> None:
        for pod in self._api.list(POD, self._namespace).items:
            uid = pod["metadata"]["uid"]
            if uid in self._decided or "deletionTimestamp" in pod["metadata"]:
                continue
            if (status := self.decide(pod)) is not None:
                name = pod["metadata"]["name"]
                self._api.patch(POD, self._namespace, name, {"status": status}, subresource="status")
                self._decided.add(uid)
