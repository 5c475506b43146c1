"""boto3 clients from a storage location and the keys in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import InvalidRegionError
from botocore.loaders import Loader, create_loader

from ensemble_builder.faults import FaultError
from ensemble_builder.storage.retry import Patience
from ensembles_api.contract import Fault, StorageLocation, credentials_prefix
from ensembles_api.names import SECRET_ACCESS_KEY_ID, SECRET_SECRET_ACCESS_KEY, SECRET_SESSION_TOKEN
from ensembles_api.reasons import Reason
from ensembles_api.spec import AddressingStyle

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECTIONS = 32
"""Connections kept per client: at least as many as threads that transfer."""

IDENTITY_VARIABLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
"""Any of these: boto3 finds the identity by itself and renews its tokens."""


def make_client(
    location: StorageLocation,
    *,
    secret_name: str | None,
    keys_field: str,
    environ: Mapping[str, str],
    patience: Patience,
) -> S3Client:
    """A client with the keys of `secret_name`, or of the storage where None.

    Raises:
        FaultError: SecretMissing where the environment holds neither keys nor an identity; InvalidSpec for a
            region or an endpoint that cannot be one.
    """
    keys = _keys(secret_name, keys_field, environ)
    try:
        client: S3Client = _session().client(
            "s3",
            endpoint_url=location.endpoint or None,
            region_name=location.region or None,
            config=_config(location, patience),
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token,
        )
    except ValueError as error:
        field = "region" if isinstance(error, InvalidRegionError) else "endpoint"
        message = f"{error}: correct it"
        raise FaultError(
            Fault(code=Reason.INVALID_SPEC, field=f"spec.storage.{field}", message=message)
        ) from error
    return client


def _session() -> boto3.session.Session:
    """One for each client: a session keeps the identity that it has found."""
    core = botocore.session.get_session()
    session = boto3.session.Session(botocore_session=core)
    core.register_component("data_loader", _descriptions())
    return session


@cache
def _descriptions() -> Loader:
    """What boto3 knows of S3: megabytes of JSON, read once for all clients."""
    return create_loader()


@dataclass(frozen=True)
class _Keys:
    """Keys for boto3; all None where it finds an identity by itself."""

    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


def _keys(secret_name: str | None, keys_field: str, environ: Mapping[str, str]) -> _Keys:
    prefix = credentials_prefix(secret_name)
    if access_key := environ.get(prefix + SECRET_ACCESS_KEY_ID):
        return _Keys(
            access_key,
            environ.get(prefix + SECRET_SECRET_ACCESS_KEY, ""),
            environ.get(prefix + SECRET_SESSION_TOKEN) or None,
        )
    if not prefix and any(environ.get(name) for name in IDENTITY_VARIABLES):
        return _Keys()
    where = f"Secret {secret_name!r}" if secret_name else "the storage's Secret or identity"
    raise FaultError(
        Fault(
            code=Reason.SECRET_MISSING,
            field=keys_field,
            message=f"{where} gives no keys: it needs {SECRET_ACCESS_KEY_ID} and {SECRET_SECRET_ACCESS_KEY}",
        )
    )


def _config(location: StorageLocation, patience: Patience) -> Config:
    by_path = location.addressing_style is AddressingStyle.PATH or (
        location.addressing_style is AddressingStyle.AUTO and bool(location.endpoint)
    )
    return Config(
        connect_timeout=patience.connect,
        read_timeout=patience.read,
        # Retries are ours (retry.py): boto's know neither a total budget nor bodies that break off.
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        # Newer checksum trailers break many S3-compatible servers. The signed payload digest serves the same
        # end everywhere: the server refuses a body that arrives changed.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "addressing_style": "path" if by_path else "virtual",
            "payload_signing_enabled": True,
            "us_east_1_regional_endpoint": "regional",
        },
        user_agent_extra="ensemble-builder",
    )
