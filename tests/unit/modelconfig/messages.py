"""Arbitrary protobuf messages, made from their descriptors."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from ensemble_builder.modelconfig.fields import is_map

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
FLOATS = st.floats(width=32, allow_nan=False)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_STRING: TEXT,
    FieldDescriptor.CPPTYPE_FLOAT: FLOATS,
    FieldDescriptor.CPPTYPE_DOUBLE: FLOATS,
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
}


@st.composite
def messages(draw: st.DrawFn, message: Message, depth: int = 4) -> Message:
    """Fills some fields of a message, and some of theirs."""
    usable = [field for field in message.DESCRIPTOR.fields if depth or field.message_type is None]
    for field in (
        draw(st.lists(st.sampled_from(usable), max_size=4, unique_by=lambda f: f.name)) if usable else []
    ):
        _fill(draw, message, field, depth)
    return message


def _fill(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    value = getattr(message, field.name)
    if is_map(field):
        parts = field.message_type.fields_by_name
        for key in draw(st.lists(SCALARS[parts["key"].cpp_type], max_size=2, unique=True)):
            if parts["value"].message_type is not None:
                value[key].SetInParent()
                draw(messages(value[key], depth - 1))
            else:
                value[key] = draw(_scalars(parts["value"]))
    elif field.is_repeated and field.message_type is not None:
        for _ in range(draw(st.integers(0, 2))):
            draw(messages(value.add(), depth - 1))
    elif field.is_repeated:
        value.extend(draw(st.lists(_scalars(field), max_size=3)))
    elif field.message_type is not None:
        value.SetInParent()
        draw(messages(value, depth - 1))
    else:
        setattr(message, field.name, draw(_scalars(field)))


def _scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return SCALARS[field.cpp_type]
