"""The resource as a whole: what `metadata`, `spec` and `status` make together."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ensembles_api.names import API_VERSION, KIND
from ensembles_api.schema import ApiModel, Rule
from ensembles_api.spec import InferenceEnsembleSpec
from ensembles_api.status import InferenceEnsembleStatus

NAME_LIMIT = 40
"""Longest metadata.name: names of Deployments, Jobs and Services add a suffix and end at 63 characters."""

NAME_RULE = Rule(
    f"self.metadata.name.size() <= {NAME_LIMIT} && "
    "self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')",
    f"metadata.name: use at most {NAME_LIMIT} lower-case letters, digits and hyphens, a letter first, "
    "because it becomes the name of the Service",
)


class InferenceEnsemble(ApiModel):
    """An inference ensemble: models, how they are wired, and how they are built and served."""

    api_version: str = Field(API_VERSION)
    kind: str = Field(KIND)
    metadata: dict[str, Any] = Field(default_factory=dict)
    spec: InferenceEnsembleSpec
    status: InferenceEnsembleStatus | None = None
