"""Scalars and small types that occur all over the spec."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from ensembles_api.schema import FREE_FORM, ApiModel, Rule, exactly_one, rules

ModelName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$")]
TensorName = Annotated[str, Field(min_length=1, max_length=256)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.\-]*[a-z0-9])?$")]
S3Uri = Annotated[str, Field(min_length=6, max_length=1024, pattern=r"^s3://[^/\s]+(/.*)?$")]
SourceUri = Annotated[str, Field(min_length=6, max_length=1024, pattern=r"^s3://[^/\s]+/.*$")]
Sha256 = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]
Quantity = Annotated[str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")]
Object = Annotated[dict[str, Any], Field(json_schema_extra=FREE_FORM)]
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.\-]*[A-Za-z0-9])?)?$")]
Labels = Annotated[dict[str, LabelValue], Field(max_length=64)]
Annotations = Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64)]


class ConfigMapKey(ApiModel):
    """A key of a ConfigMap in this namespace."""

    name: ObjectName
    key: str = Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.\-]+$")


class Source(ApiModel):
    """Where bytes come from."""

    inline: str | None = Field(None, max_length=65536, description="The text itself.")
    config_map: ConfigMapKey | None = Field(None, description="A key of a ConfigMap in this namespace.")
    uri: SourceUri | None = Field(
        None, description="s3://bucket/key of a file, or s3://bucket/prefix/ (ending in /) of a folder."
    )
    sha256: Sha256 | None = Field(None, description="Digest the file must have; a folder has none.")
    secret_name: ObjectName | None = Field(
        None, description="Secret with keys for this uri, where spec.storage.secretName does not fit."
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("inline", "configMap", "uri", what="source"),
            Rule(
                "!has(self.secretName) || has(self.uri)",
                "secretName goes with uri only: remove it, or give the source by uri",
            ),
            Rule(
                "!has(self.sha256) || !has(self.uri) || !self.uri.endsWith('/')",
                "sha256: a folder has no digest; remove sha256, or name one file",
            ),
        )
    )


def one_file(field: str) -> Rule:
    """`field` is a Source that must not be a folder."""
    return Rule(
        f"!has(self.{field}.uri) || !self.{field}.uri.endsWith('/')",
        f"{field}.uri: name one file; an uri that ends in / is a folder",
    )


class NamedSource(ApiModel):
    """The value of one input tensor."""

    name: TensorName = Field(description="Input tensor.")
    source: Source
    model_config = ConfigDict(json_schema_extra=rules(one_file("source")))


SharedLibraries = Annotated[
    list[Source],
    Field(
        max_length=8,
        json_schema_extra=rules(
            Rule(
                "self.all(p, has(p.uri) && !p.uri.endsWith('/'))",
                "plugins: give each as the uri of one shared library, as in s3://bucket/plugins/mine.so",
            )
        ),
    ),
]
Quantities = Annotated[dict[str, Annotated[int, Field(ge=0)] | Quantity], Field(max_length=16)]


class Resources(ApiModel):
    """As in a container."""

    requests: Quantities | None = None
    limits: Quantities | None = None


class LocalObject(ApiModel):
    name: ObjectName
