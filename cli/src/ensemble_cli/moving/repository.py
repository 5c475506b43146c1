"""A model repository on disk, as tritonserver would see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.complete import states_batch_size
from ensemble_cli.exits import CommandError, Exit

CONFIG = "config.pbtxt"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
"""What spec.models[].name takes."""


@dataclass(frozen=True)
class Trouble:
    """Something that tritonserver would stumble over as well."""

    file: Path
    message: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


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
        heads = {path.split("/", 1)[0] for path in self.files if "/" in path}
        return tuple(sorted(filter(_is_version, heads), key=int))

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


def read_repository(folder: Path) -> FoundRepository:
    """Every model of a repository.

    Raises:
        CommandError: it is no model repository.
    """
    if not folder.is_dir():
        raise CommandError(f"{folder} is no folder", cure="check the path", status=Exit.USAGE)
    if (folder / CONFIG).exists():
        raise CommandError(
            f"{folder} is a model, no repository", cure=f"give the folder above: {folder.parent}",
            status=Exit.USAGE,
        )  # fmt: skip
    models: list[FoundModel] = []
    troubles: list[Trouble] = []
    ignored: list[str] = []
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith(".") or not _looks_like_model(path):
            ignored.append(path.name)
            continue
        found = _read_model(path)
        if isinstance(found, Trouble):
            troubles.append(found)
        else:
            models.append(found)
            troubles += _names(found)
    if not models and not troubles:
        raise CommandError(
            f"{folder} holds no models", cure="give the folder whose folders are models", status=Exit.USAGE
        )
    troubles += _unknown_members(models)
    return FoundRepository(folder, tuple(models), tuple(troubles), tuple(ignored))


def _looks_like_model(path: Path) -> bool:
    return (path / CONFIG).exists() or any(_is_version(each.name) for each in path.iterdir() if each.is_dir())


def _read_model(folder: Path) -> FoundModel | Trouble:
    files = tuple(sorted(_files(folder)))
    text = ""
    if CONFIG in files:
        try:
            text = (folder / CONFIG).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return Trouble(folder / CONFIG, "is no text: Triton reads protobuf text there")
    config, exotic = ModelConfig(), False
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        try:
            config, exotic = ModelConfig(), True
            text_format.Parse(text, config, allow_unknown_field=True)
        except text_format.ParseError:
            return _unreadable(folder / CONFIG, error)
    return FoundModel(folder.name, folder, files, config, states_batch_size(text), exotic)


def _unreadable(file: Path, error: text_format.ParseError) -> Trouble:
    line, column = error.GetLine() or 1, error.GetColumn() or 1
    return Trouble(file, re.sub(r"^\d+:\d+ : ", "", " ".join(str(error).split())), line, column)


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and int(name) > 0


def _names(model: FoundModel) -> Iterator[Trouble]:
    if not NAME.fullmatch(model.name):
        yield Trouble(model.folder, "the name has characters that a model's cannot have: rename the folder")
    if model.config.name and model.config.name != model.name:
        message = f"names the model {model.config.name!r}, but its folder is {model.name!r}: make them equal"
        yield Trouble(model.folder / CONFIG, message)
    if not model.is_ensemble and not model.versions:
        yield Trouble(model.folder, "has no version folder with files: put the model's files into 1/")


def _unknown_members(models: list[FoundModel]) -> Iterator[Trouble]:
    known = {model.name for model in models}
    for model in models:
        for step in model.config.ensemble_scheduling.step:
            if step.model_name not in known:
                message = f"a step calls {step.model_name!r}, which is no model of the repository"
                yield Trouble(model.folder / CONFIG, message)
