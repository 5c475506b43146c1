"""Lays what the user states over what was generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from ensemble_builder.modelconfig.fields import is_map

TENSOR_LISTS = ("input", "output")
"""Merged by name (or by order), not replaced: see `ensemble_builder.modelconfig.declare`."""


def overlay(message: Message, stated: Mapping[str, Any], *, leave_out: Sequence[str] = ()) -> None:
    """Messages and maps are merged field by field, lists are replaced.

    `stated` is JSON, not a message, because only JSON tells a stated 0 or false from an absent one.

    Args:
        message: changed in place.
        stated: protobuf JSON that `fields.parse_stated` has accepted.
        leave_out: fields of the outermost message that are not touched.
    """
    stated = {key: value for key, value in stated.items() if value is not None and key not in leave_out}
    parsed: Any = json_format.ParseDict(stated, type(message)())
    for key, value in stated.items():
        field = message.DESCRIPTOR.fields_by_name[key]
        if is_map(field):
            _overlay_map(getattr(message, key), value, getattr(parsed, key))
        elif field.is_repeated:
            message.ClearField(key)
            getattr(message, key).MergeFrom(getattr(parsed, key))
        elif field.message_type is not None:
            getattr(message, key).SetInParent()
            overlay(getattr(message, key), value)
        else:
            setattr(message, key, getattr(parsed, key))


def _overlay_map(target: Any, stated: Mapping[Any, Any], parsed: Any) -> None:
    values = {str(key): value for key, value in stated.items()}
    for key in parsed:
        if isinstance(parsed[key], Message):
            overlay(target[key], values[str(key)])
        else:
            target[key] = parsed[key]
