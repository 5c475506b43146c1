"""What `generate` takes and returns: models with what is known of their artifacts, and all their configs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensembles_api.contract import ModelIO, ServerRequirements
from ensembles_api.spec import AutoComplete, Model

VersionKind = Literal["dali", "tensorrt", "onnxruntime", "python", "files"]


@dataclasses.dataclass(frozen=True)
class MemberVersion:
    """One version folder of a model."""

    version: int
    kind: VersionKind
    io: ModelIO | None
    """None: not known (not built yet, or a kind that cannot be asked: python, files)."""


@dataclasses.dataclass(frozen=True)
class Member:
    """A model of the spec or of a hand-written repository."""

    model: Model
    field: str
    """Its path in the resource, e.g. `spec.models[2]`."""
    versions: tuple[MemberVersion, ...]
    """Empty for ensembles."""
    given_config: str | None = None
    """Text of a config.pbtxt that came with the model's files."""
    untouched: bool = False
    """The given text is published byte for byte (hand-written repository)."""
    label_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Output name -> file name in the model's folder."""
    file_names: tuple[str, ...] = ()
    """Files of a version folder, where known: some name their backend (model.onnx, model.plan)."""

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def left_to_server(self) -> bool:
        """The server completes this model's config itself."""
        return self.untouched or self.model.auto_complete is AutoComplete.SERVER

    @property
    def newest(self) -> MemberVersion | None:
        return max(self.versions, key=lambda version: version.version, default=None)


@dataclasses.dataclass(frozen=True)
class GeneratedRepository:
    """Configs of all models and what they ask of the server."""

    configs: Mapping[str, str]
    """Model name -> text of config.pbtxt; absent where the server shall find no config."""
    parsed: Mapping[str, ModelConfig]
    """Model name -> the config the server will work with, for every model whose config is known."""
    entrypoint: str
    server: ServerRequirements
    warnings: tuple[str, ...]
