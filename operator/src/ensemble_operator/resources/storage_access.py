"""How a container reaches storage: location as an argument, keys or identity, and the endpoint's CA.

Keys come by secretKeyRef: a missing Secret then shows in the pod's status at once, and only the kubelet
reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ensembles_api.contract import StorageLocation, credentials_prefix
from ensembles_api.names import SECRET_ACCESS_KEY_ID, SECRET_SECRET_ACCESS_KEY, SECRET_SESSION_TOKEN
from ensembles_api.spec import Identity, Storage

TOKEN_FOLDER = "/var/run/secrets/ensembles.dev/token"  # noqa: S105 - a path
TOKEN_FILE = "token"  # noqa: S105
TOKEN_SECONDS = 3600
CA_FOLDER = "/etc/ensembles/ca"
CA_FILE = "ca.crt"

Json = dict[str, Any]


@dataclass(frozen=True)
class StorageAccess:
    """What reaching storage adds to a container (env, mounts) and to its pod (volumes, account)."""

    location: str
    """A StorageLocation as JSON, for --storage."""
    env: tuple[Json, ...]
    mounts: tuple[Json, ...]
    volumes: tuple[Json, ...]
    service_account: str | None


def storage_access(storage: Storage, *, source_secrets: Sequence[str] = ()) -> StorageAccess:
    """Access to `storage`, and with the keys of `source_secrets` to the sources that have their own."""
    env: list[Json] = []
    mounts: list[Json] = []
    volumes: list[Json] = []
    if storage.secret_name:
        env += _keys(storage.secret_name, prefix="")
    for name in source_secrets:
        env += _keys(name, prefix=credentials_prefix(name))
    if storage.identity:
        env += _identity_env(storage.identity)
        mounts.append({"name": "identity", "mountPath": TOKEN_FOLDER, "readOnly": True})
        volumes.append(_token_volume(storage.identity))
    if storage.ca_config_map:
        env.append({"name": "AWS_CA_BUNDLE", "value": f"{CA_FOLDER}/{CA_FILE}"})
        mounts.append({"name": "ca", "mountPath": CA_FOLDER, "readOnly": True})
        item = {"key": storage.ca_config_map.key, "path": CA_FILE}
        volumes.append({"name": "ca", "configMap": {"name": storage.ca_config_map.name, "items": [item]}})
    return StorageAccess(
        location=location(storage),
        env=tuple(env),
        mounts=tuple(mounts),
        volumes=tuple(volumes),
        service_account=storage.identity.service_account_name if storage.identity else None,
    )


def location(storage: Storage) -> str:
    return (
        StorageLocation(
            uri=storage.uri,
            endpoint=storage.endpoint,
            region=storage.region,
            addressing_style=storage.addressing_style,
        )
        .canonical()
        .decode()
    )


def _keys(secret: str, *, prefix: str) -> list[Json]:
    return [
        _secret_env(prefix + SECRET_ACCESS_KEY_ID, secret, SECRET_ACCESS_KEY_ID),
        _secret_env(prefix + SECRET_SECRET_ACCESS_KEY, secret, SECRET_SECRET_ACCESS_KEY),
        _secret_env(prefix + SECRET_SESSION_TOKEN, secret, SECRET_SESSION_TOKEN, optional=True),
    ]


def _secret_env(variable: str, secret: str, key: str, *, optional: bool = False) -> Json:
    reference: Json = {"name": secret, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}


def _identity_env(identity: Identity) -> list[Json]:
    return [
        {"name": "AWS_ROLE_ARN", "value": identity.role_arn},
        {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": f"{TOKEN_FOLDER}/{TOKEN_FILE}"},
    ]


def _token_volume(identity: Identity) -> Json:
    token = {"audience": identity.audience, "expirationSeconds": TOKEN_SECONDS, "path": TOKEN_FILE}
    return {"name": "identity", "projected": {"sources": [{"serviceAccountToken": token}]}}
