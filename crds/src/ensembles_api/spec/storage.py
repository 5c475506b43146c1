"""Where artifacts and revisions are kept, and how it is reached."""

from __future__ import annotations

from enum import Enum

from pydantic import ConfigDict, Field

from ensembles_api.schema import ATOMIC, ApiModel, Rule, exactly_one, rules
from ensembles_api.spec.values import ConfigMapKey, ObjectName, S3Uri

ENDPOINT = r"^https?://[^/?#@[:space:]]+(/[^?#@[:space:]]*)?$"
"""A URL without user and password: those would be read by everybody who may read the resource."""


class Identity(ApiModel):
    """Access without keys, by a projected service account token."""

    service_account_name: ObjectName = Field(description="Service account whose token is projected.")
    role_arn: str = Field(min_length=1, max_length=2048, description="Role to assume with the token.")
    audience: str = Field("sts.amazonaws.com", min_length=1, max_length=256)
    model_config = ConfigDict(json_schema_extra=ATOMIC)


class AddressingStyle(str, Enum):
    AUTO = "Auto"
    PATH = "Path"
    VIRTUAL = "Virtual"


class Storage(ApiModel):
    """Object storage (S3) for artifacts and published revisions."""

    uri: S3Uri = Field(description="Where artifacts and revisions are kept. One trust domain.")
    endpoint: str = Field("", max_length=512, description="URL of an S3-compatible server; empty for AWS.")
    region: str = Field("us-east-1", max_length=64)
    addressing_style: AddressingStyle = Field(
        AddressingStyle.AUTO, description="Auto: path style with an endpoint, virtual hosts without."
    )
    secret_name: ObjectName | None = Field(
        None, description="Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, optional AWS_SESSION_TOKEN."
    )
    identity: Identity | None = None
    ca_config_map: ConfigMapKey | None = Field(None, description="CA bundle of a private endpoint.")
    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("secretName", "identity", what="storage"),
            Rule(
                f"self.endpoint == '' || self.endpoint.matches('{ENDPOINT}')",
                "endpoint: write the URL with its scheme, as in http://s3.storage.svc:9000; "
                "keys belong in the Secret",
            ),
        )
    )
