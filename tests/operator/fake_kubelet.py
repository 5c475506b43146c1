"""Plays the kubelet on a control plane without nodes: pods end or get ready as a test wants.

What images would do is invented here; everything that controllers do with it is real.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import ApiError
from ensemble_operator.cluster.kinds import POD

Pod = Mapping[str, Any]
Verdict = Mapping[str, Any] | None
"""The pod's status; None leaves it pending."""

HEARTBEAT_SECONDS = 5.0
"""A node that says nothing for 50 s is taken for lost."""

ROOM = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"}
"""Of a node, for a scheduler."""

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
    """A node and its kubelet: decides once for each pod of a namespace, when the decision is not None.

    Pods get the node by no rule at all, or, with `scheduled`, from a scheduler that runs beside it.
    """

    def __init__(
        self, api: KubernetesApi, namespace: str, decide: Callable[[Pod], Verdict], *, scheduled: bool = False
    ) -> None:
        self.decide = decide
        self._scheduled = scheduled
        self._api = api
        self._namespace = namespace
        self.node = f"fake-{namespace}"
        self._decided: set[str] = set()
        self._beat = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-kubelet", daemon=True)

    def __enter__(self) -> Self:
        manifest = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node}}
        self._api._request("POST", "/api/v1/nodes", body=manifest)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        self._api._request("DELETE", f"/api/v1/nodes/{self.node}")

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            with contextlib.suppress(ApiError):  # the pod is gone, or the server restarts
                self._round()

    def _round(self) -> None:
        if time.monotonic() - self._beat > HEARTBEAT_SECONDS:
            self._beat = time.monotonic()
            self._tell_ready()
        for pod in self._api.list(POD, self._namespace).items:
            self._look_at(pod)

    def _look_at(self, pod: Pod) -> None:
        uid, path = pod["metadata"]["uid"], POD.path(self._namespace, pod["metadata"]["name"])
        if "deletionTimestamp" in pod["metadata"]:
            self._api._request("DELETE", path, body={"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
        elif "nodeName" not in pod["spec"]:
            if self._scheduled:
                return
            target = {"apiVersion": "v1", "kind": "Node", "name": self.node}
            metadata = {"name": pod["metadata"]["name"]}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
            self._api._request("POST", f"{path}/binding", body=binding)
        elif uid not in self._decided and (status := self.decide(pod)) is not None:
            name = pod["metadata"]["name"]
            self._api.patch(POD, self._namespace, name, {"status": status}, subresource="status")
            self._decided.add(uid)

    def _tell_ready(self) -> None:
        condition = {"type": "Ready", "status": "True", "reason": "Fake", "lastHeartbeatTime": _now()}
        self._api._request(
            "PATCH",
            f"/api/v1/nodes/{self.node}/status",
            body={"status": {"conditions": [condition], "capacity": ROOM, "allocatable": ROOM}},
            content_type="application/strategic-merge-patch+json",
        )
