"""What the pods of Jobs and servers share: containers, volumes, and what `restricted` Pod Security asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ensembles_api.spec import LocalObject

Json = dict[str, Any]

USER_ID = 65532
TMP = "/tmp"  # noqa: S108 - of the container
BUILDER = "ensemble-builder"
ANNOTATION_SKIP_IDENTITY = "eks.amazonaws.com/skip-containers"
"""Containers that Amazon's identity webhook leaves without its token."""

NO_SIDECARS = {"sidecar.istio.io/inject": "false"}
"""A sidecar outlives a Job's work, and starts only after the init containers have needed the network."""


def security_context() -> Json:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security_context() -> Json:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def container(
    name: str,
    *,
    image: str,
    pull_policy: str,
    command: Sequence[str],
    args: Sequence[str],
    resources: Mapping[str, Any],
    mounts: Iterable[Mapping[str, Any]],
    env: Iterable[Mapping[str, Any]] = (),
    tmp: str | None = "tmp",
) -> Json:
    """A container whose root file system is read-only but for /tmp, which is the volume `tmp`, if any."""
    writable = [{"name": tmp, "mountPath": TMP}] if tmp else []
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": list(command),
        "args": list(args),
        "env": [{"name": "HOME", "value": TMP}, *map(dict, env)],
        "resources": dict(resources),
        "volumeMounts": [*writable, *map(dict, mounts)],
        "securityContext": container_security_context(),
        # A process that dies without a word leaves the end of its log instead.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def empty_dir(name: str, *, limit: str | None = None, memory: bool = False) -> Json:
    medium: Json = {"medium": "Memory"} if memory else {}
    return {"name": name, "emptyDir": {**medium, **({"sizeLimit": limit} if limit else {})}}


def pull_secrets(secrets: Iterable[LocalObject]) -> list[Json]:
    return [{"name": secret.name} for secret in secrets]


def pod_spec(**fields: Any) -> Json:
    """A PodSpec without service links and API token; fields given as None, "" or empty are left out."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security_context(),
        **{name: value for name, value in fields.items() if value not in (None, "", [], {}, ())},
    }
