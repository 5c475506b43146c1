"""Reads a model repository on disk as tritonserver would."""

from __future__ import annotations

import re
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.backends import BACKEND_OF_FILE
from ensemble_builder.modelconfig.complete import states_batch_size
from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.moving.found import CONFIG, FoundModel, FoundRepository, Trouble, is_version, shown
from ensemble_cli.moving.troubles import troubles_of
from ensemble_cli.moving.walking import Walk

BYTE_ORDER_MARK = "\ufeff"
LARGEST_CONFIG = 4 * 1024 * 1024
"""Bytes; protobuf text of more is no config that somebody wrote."""


def read_repository(folder: Path) -> FoundRepository:
    """Every model of a repository, and what is wrong with it.

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
            ignored.append(shown(Path(path.name)))
            continue
        walk = Walk(path)
        walk.into(path)
        troubles += walk.troubles
        if not walk.troubles:
            found = _read_model(path, tuple(sorted(walk.files)))
            troubles += [found] if isinstance(found, Trouble) else []
            models += [] if isinstance(found, Trouble) else [found]
    if not models and not troubles:
        raise CommandError(
            f"{folder} holds no models",
            cure="give the folder whose folders are models: MODEL/1/model.onnx",
            status=Exit.USAGE,
        )
    # Where some cannot be read, others only seem to lack them.
    return FoundRepository(folder, tuple(models), tuple(troubles or troubles_of(models)), tuple(ignored))


def _looks_like_model(path: Path) -> bool:
    """Has a config, a version, or a model's file in the wrong place, which is not passed over in silence."""
    try:
        if (path / CONFIG).exists():
            return True
        folders = [each for each in path.iterdir() if each.is_dir()]
        places = (path, *folders)
        misplaced = any((place / name).exists() for place in places for name in BACKEND_OF_FILE)
        return misplaced or any(is_version(each.name) for each in folders)
    except OSError:  # a folder that may not be read is told of where its files are looked for
        return True


def _read_model(folder: Path, files: tuple[str, ...]) -> FoundModel | Trouble:
    file, text = folder / CONFIG, ""
    if CONFIG in files:
        if file.stat().st_size > LARGEST_CONFIG:
            return Trouble(file, f"has more than {LARGEST_CONFIG >> 20} MiB: check what it is")
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return Trouble(file, "is no text: save it as UTF-8; Triton reads protobuf text there")
        if text.startswith(BYTE_ORDER_MARK):
            return Trouble(file, "begins with a byte order mark: save it as UTF-8 without one")
    elif file.exists():
        return Trouble(file, "is no file: remove it, or write a config there")
    config, exotic = ModelConfig(), False
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        try:
            config, exotic = ModelConfig(), True
            text_format.Parse(text, config, allow_unknown_field=True)
        except text_format.ParseError:
            return _unreadable(file, text, error)
    return FoundModel(folder.name, folder, files, config, states_batch_size(text), exotic)


def _unreadable(file: Path, text: str, error: text_format.ParseError) -> Trouble:
    line, column = error.GetLine() or 1, error.GetColumn() or 1
    said = re.sub(r"^\d+:\d+ : ", "", str(error))
    quoted = "".join(text.split("\n")[line - 1 : line])
    words = " ".join(said.removeprefix(f"'{quoted}': ").removeprefix("'': ").split()).rstrip(".")
    message = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in words)
    return Trouble(file, f"{message}: correct it; Triton reads protobuf text there", line, column)
