"""The operator's own configuration, from the chart's ConfigMap (/etc/ensemble-operator/config.yaml)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from ensembles_api.contract import Versions
from ensembles_api.schema import ApiModel


class Release(ApiModel):
    """A row of the release table: images that fit together, and what they contain."""

    server_image: str
    builder_image: str
    versions: Versions = Versions()


class OperatorConfig(ApiModel):
    tools_image: str
    releases: dict[str, Release] = Field(default_factory=dict)
    default_release: str = ""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    parallel_builds: int = Field(4, ge=1, le=64)
    """Build Jobs of one ensemble that may run at once."""
    cluster_domain: str = "cluster.local"
    watch_namespaces: list[str] = Field(default_factory=list)
    """Empty: the whole cluster."""
    node_reader: bool = False


def load_config(path: Path) -> OperatorConfig:
    """Read and check the configuration.

    Raises:
        pydantic.ValidationError: a field is unknown or has a wrong value.
    """
    return OperatorConfig.model_validate(yaml.safe_load(path.read_text()))
