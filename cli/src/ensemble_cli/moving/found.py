"""What a model repository on disk is found to hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

CONFIG = "config.pbtxt"


@dataclass(frozen=True)
class Trouble:
    """Something that tritonserver, or the upload, would stumble over as well; ends with its cure."""

    file: Path
    message: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{shown(self.file)}:{self.line}:{self.column}: {self.message}"


@dataclass(frozen=True)
class FoundModel:
    """A model's folder. `config` is what its config.pbtxt says, empty where there is none."""

    name: str
    folder: Path
    files: tuple[str, ...]
    """Paths below the folder, config.pbtxt included."""
    config: ModelConfig
    stated_batch: bool
    """config.pbtxt states max_batch_size, be it 0."""
    exotic: bool
    """config.pbtxt has fields that this program does not know."""

    @property
    def versions(self) -> tuple[str, ...]:
        """Names of the version folders that have files."""
        return tuple(sorted(filter(is_version, self.heads), key=int))

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the folders at the top that have files."""
        return tuple(sorted({path.split("/", 1)[0] for path in self.files if "/" in path}))

    @property
    def is_ensemble(self) -> bool:
        return bool(self.config.platform == "ensemble" or self.config.HasField("ensemble_scheduling"))

    def text(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True)
class FoundRepository:
    folder: Path
    models: tuple[FoundModel, ...]
    troubles: tuple[Trouble, ...]
    ignored: tuple[str, ...]
    """Names at the top that are no models."""


def is_version(name: str) -> bool:
    """As the server reads it: a folder whose name begins with 0 is passed over."""
    return name.isascii() and name.isdigit() and not name.startswith("0")


def shown(path: Path) -> str:
    """A path for people, even one that is no text."""
    return os.fsencode(path).decode(errors="backslashreplace")
