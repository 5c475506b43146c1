"""Whether configs still say what they said before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.fields import is_map
from ensemble_cli.moving.found import CONFIG, FoundRepository

DERIVED = frozenset({"name", "backend", "platform"})
"""Fields of a model that the server fills in itself, from the folder and the files."""


def lost(found: FoundRepository, built: Path) -> Iterator[str]:
    """What the configs of a repository say and those built from it do not, as MODEL: FIELD.

    Args:
        found: as it was.
        built: the folder of models that was built.
    """
    for model in found.models:
        file = built / model.name / CONFIG
        now = ModelConfig()
        if file.exists():
            text_format.Parse(file.read_text(), now, allow_unknown_field=True)
        elif model.config.ByteSize():
            yield f"{model.name}: {CONFIG}"
        for field in _missing(model.config, now, ""):
            if file.exists() and not (field in DERIVED and not getattr(now, field)):
                yield f"{model.name}: {field}"
        yield from (
            f"{model.name}: {path}"
            for path in model.files
            if path.endswith((".py", ".onnx", ".plan", ".dali", ".pt", ".txt"))
            and not (built / model.name / path).exists()
        )


def _missing(before: Message, now: Message, at: str) -> Iterator[str]:
    """Fields of `before` that `now` lacks or has otherwise; `now` may say more."""
    for field, value in before.ListFields():
        name = f"{at}{field.name}"
        other = getattr(now, field.name)
        if is_map(field) or (field.is_repeated and field.message_type is None):
            if value != other:
                yield name
        elif field.is_repeated:
            pairs = _pairs(value, other)
            if pairs is None:
                yield name
                continue
            for index, (one, two) in enumerate(pairs):
                yield from _missing(one, two, f"{name}[{index}].")
        elif field.message_type is not None:
            if not now.HasField(field.name):
                yield name
            else:
                yield from _missing(value, other, f"{name}.")
        elif value != other:
            yield name


def _pairs(before: Sequence[Message], now: Sequence[Message]) -> list[tuple[Message, Message]] | None:
    """What belongs together: tensors and other named things by name, all else by place."""
    if len(before) != len(now):
        return None
    named = {getattr(each, "name", ""): each for each in now}
    if len(named) < len(now) or "" in named:
        return list(zip(before, now, strict=True))
    if named.keys() != {getattr(each, "name", "") for each in before}:
        return None
    return [(each, named[getattr(each, "name", "")]) for each in before]
