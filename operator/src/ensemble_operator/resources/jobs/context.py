"""What the Jobs of one ensemble have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ensemble_operator.config import OperatorConfig
from ensemble_operator.names import ANNOTATION_SETTINGS, digest
from ensemble_operator.resources.owner import Owner
from ensembles_api.spec import Build, LocalObject, Storage


@dataclass(frozen=True)
class JobContext:
    owner: Owner
    config: OperatorConfig
    storage: Storage
    build: Build
    serving_pull_secrets: Sequence[LocalObject]
    builder_image: str
    source_secrets: tuple[str, ...]
    """Secrets of the sources that have their own keys."""
    config_maps: Mapping[str, tuple[str, ...]]
    """The user's ConfigMaps that sources name -> their keys."""
    tried: tuple[str, ...] = ()
    """Settings of earlier attempts of the Job that is made next."""
    runtime_class_name: str | None = None
    """Of the servers: where GPUs need a RuntimeClass to serve, they need it to build."""

    @property
    def storage_digest(self) -> str:
        """16 characters for the place in storage; keys and how it is addressed may differ."""
        return digest([self.storage.uri.rstrip("/"), self.storage.endpoint, self.storage.region])[:16]

    @property
    def settings(self) -> str:
        """Digest of what user or chart can change, at the same inputs, to make a Job run that did not."""
        return digest(
            [
                # Only what was set, so that a later operator's new fields change nothing.
                self.build.model_dump(mode="json", exclude_defaults=True, exclude={"when_gpu_busy"}),
                [secret.name for secret in self.serving_pull_secrets],
                [self.config.tools_image, self.builder_image, self.runtime_class_name],
                self.storage.model_dump(mode="json", exclude_defaults=True),
            ]
        )[:8]

    def settings_annotation(self) -> dict[str, str]:
        return {ANNOTATION_SETTINGS: " ".join(sorted({*self.tried, self.settings}))}
