"""Writes a ModelConfig as config.pbtxt: complete, the same bytes every time, and pleasant to read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.fields import is_map

FIRST = ("name", "platform", "backend", "runtime", "max_batch_size", "input", "output")
"""Fields in the order in which people look for them; the others follow in the order of model_config.proto."""
INDENT = "  "


def print_config(config: ModelConfig, *, state_batch_size: bool = True) -> str:
    """The text of config.pbtxt; parsing it gives the same message.

    Args:
        config: a model's config.
        state_batch_size: print max_batch_size even if it is 0. protobuf's text format leaves zeros out, and
            the DALI backend, which reads the text itself, takes an absent one for "batched" (dali_backend:
            config_tools.cc, ReadMBSFromPBtxt). False only where the server shall choose.
    """
    fields = config.DESCRIPTOR.fields_by_name
    order = [*FIRST, *(name for name in fields if name not in FIRST)]
    lines: list[str] = []
    for name in order:
        if name == "max_batch_size" and state_batch_size:
            lines.append(f"max_batch_size: {config.max_batch_size}")
        else:
            lines.extend(_field(config, fields[name], depth=0))
    return "\n".join(lines) + "\n"


def _message(message: Message, depth: int) -> Iterator[str]:
    for field in message.DESCRIPTOR.fields:
        yield from _field(message, field, depth)


def _field(message: Message, field: FieldDescriptor, depth: int) -> Iterator[str]:
    pad = INDENT * depth
    value: Any = getattr(message, field.name)
    if is_map(field):
        for key in sorted(value):
            yield from _entry(field, key, value[key], depth)
    elif field.is_repeated and field.message_type is not None:
        if value:
            yield f"{pad}{field.name} ["
            for index, item in enumerate(value):
                yield f"{pad}{INDENT}{{"
                yield from _message(item, depth + 2)
                yield f"{pad}{INDENT}}}{',' if index < len(value) - 1 else ''}"
            yield f"{pad}]"
    elif field.is_repeated:
        if value:
            yield f"{pad}{field.name}: [ {', '.join(_scalar(field, item) for item in value)} ]"
    elif field.message_type is not None:
        if message.HasField(field.name):
            yield from _block(field.name, value, depth)
    elif any(stated.name == field.name for stated, _ in message.ListFields()):
        yield f"{pad}{field.name}: {_scalar(field, value)}"


def _block(name: str, message: Message, depth: int) -> Iterator[str]:
    pad = INDENT * depth
    body = list(_message(message, depth + 1))
    if body:
        yield f"{pad}{name} {{"
        yield from body
        yield f"{pad}}}"
    else:
        yield f"{pad}{name} {{ }}"


def _entry(field: FieldDescriptor, key: Any, value: Any, depth: int) -> Iterator[str]:
    pad = INDENT * depth
    fields = field.message_type.fields_by_name
    start = f"{pad}{field.name} {{"
    told = f"key: {_scalar(fields['key'], key)}"
    if fields["value"].message_type is None:
        yield f"{start} {told} value: {_scalar(fields['value'], value)} }}"
        return
    yield start
    yield f"{pad}{INDENT}{told}"
    yield from _block("value", value, depth + 1)
    yield f"{pad}}}"


def _scalar(field: FieldDescriptor, value: Any) -> str:
    out = io.StringIO()
    text_format.PrintFieldValue(field, value, out, as_utf8=True)
    return out.getvalue()
