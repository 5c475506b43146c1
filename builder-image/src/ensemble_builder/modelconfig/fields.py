"""Checks `config` of the spec: ModelConfig as protobuf JSON, by the fields' own (snake_case) names.

json_format would accept most of this as well, but it also takes camelCase, reads numbers that JSON has
rounded already, and does not say where in the document a mistake stands.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.errors import invalid_config, listed, nearest

EXACT_JSON_INTEGER = 2**53
"""Greatest integer up to which every JSON reader on the way (YAML, kubectl, the API server) agrees."""

_SIGNED = {FieldDescriptor.CPPTYPE_INT32: 31, FieldDescriptor.CPPTYPE_INT64: 63}
_UNSIGNED = {FieldDescriptor.CPPTYPE_UINT32: 32, FieldDescriptor.CPPTYPE_UINT64: 64}


def parse_stated(stated: Mapping[str, Any], field: str) -> ModelConfig:
    """The stated part of a config as a message.

    Raises:
        FaultError: InvalidConfig naming `<field>.<path in config>`.
    """
    _check_message(stated, ModelConfig.DESCRIPTOR, field)
    try:
        return json_format.ParseDict(dict(stated), ModelConfig())
    except json_format.ParseError as error:
        raise invalid_config(field, f"not a ModelConfig: {error}") from error


def is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _check_message(value: Any, message: Descriptor, path: str) -> None:
    if not isinstance(value, Mapping):
        raise invalid_config(path, f"expected an object with fields of {message.name}, found {_shown(value)}")
    known = message.fields_by_name
    stated: dict[str, str] = {}
    for key, item in value.items():
        if key not in known:
            raise invalid_config(f"{path}.{key}", _unknown_field(str(key), message))
        if item is None:
            continue
        field = known[key]
        if field.containing_oneof is not None:
            group = str(field.containing_oneof.name)
            if group in stated:
                raise invalid_config(
                    f"{path}.{key}",
                    f"{stated[group]} is stated as well: only one of the two can hold; remove one",
                )
            stated[group] = str(key)
        _check_field(item, field, f"{path}.{key}")


def _unknown_field(key: str, message: Descriptor) -> str:
    camel = re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower()
    if camel != key and camel in message.fields_by_name:
        return f"fields of {message.name} are written as in config.pbtxt: write {camel}"
    hint = nearest(key, list(message.fields_by_name))
    return f"{message.name} has no field {key}{hint or '; fields: ' + ', '.join(message.fields_by_name)}"


def _check_field(value: Any, field: FieldDescriptor, path: str) -> None:
    if is_map(field):
        _check_map(value, field, path)
    elif field.is_repeated:
        if not isinstance(value, list | tuple):
            raise invalid_config(path, f"expected a list, found {_shown(value)}: put it in brackets")
        for index, item in enumerate(value):
            _check_single(item, field, f"{path}[{index}]")
    else:
        _check_single(value, field, path)


def _check_map(value: Any, field: FieldDescriptor, path: str) -> None:
    if not isinstance(value, Mapping):
        raise invalid_config(path, f"expected an object of names and values, found {_shown(value)}")
    key_field = field.message_type.fields_by_name["key"]
    for key, item in value.items():
        if key_field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
            _check_single(key, key_field, f"{path}.{key}")
        _check_single(item, field.message_type.fields_by_name["value"], f"{path}.{key}")


def _check_single(value: Any, field: FieldDescriptor, path: str) -> None:
    if field.message_type is not None:
        _check_message(value, field.message_type, path)
    elif field.enum_type is not None:
        _check_enum(value, field.enum_type, path)
    elif field.type == FieldDescriptor.TYPE_BYTES:
        _check_bytes(value, path)
    else:
        _SCALARS[field.cpp_type](value, field, path)


def _check_enum(value: Any, enum: EnumDescriptor, path: str) -> None:
    names = list(enum.values_by_name)
    if isinstance(value, str) and value in names:
        return
    hint = (
        f"; did you mean {full}?" if (full := _enum_name(str(value), names)) else nearest(str(value), names)
    )
    raise invalid_config(
        path, f"expected a name of {enum.name}, found {_shown(value)}{hint or ': one of ' + listed(names)}"
    )


def _enum_name(value: str, names: list[str]) -> str | None:
    """TYPE_FP32 for FP32 or fp32, KIND_GPU for gpu."""
    return next((name for name in names if name.split("_", 1)[-1] == value.upper()), None)


def _check_bytes(value: Any, path: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise invalid_config(path, f"expected bytes in base64, found {_shown(value)}") from None


def _check_bool(value: Any, _field: FieldDescriptor, path: str) -> None:
    if not isinstance(value, bool):
        raise invalid_config(path, f"expected true or false, found {_shown(value)}")


def _check_string(value: Any, _field: FieldDescriptor, path: str) -> None:
    if not isinstance(value, str):
        raise invalid_config(path, f"expected a text, found {_shown(value)}: quote it")


def _check_integer(value: Any, field: FieldDescriptor, path: str) -> None:
    number = _integer(value)
    if number is None:
        raise invalid_config(path, f"expected a whole number, found {_shown(value)}")
    if not isinstance(value, str) and abs(number) > EXACT_JSON_INTEGER:
        raise invalid_config(path, f"{number} is above 2^53, where JSON numbers lose digits: quote it")
    low, high = _limits(field)
    if not low <= number <= high:
        raise invalid_config(path, f"{number} is outside of {low} to {high}")


def _limits(field: FieldDescriptor) -> tuple[int, int]:
    if (bits := _SIGNED.get(field.cpp_type)) is not None:
        return -(2**bits), 2**bits - 1
    return 0, int(2 ** _UNSIGNED[field.cpp_type]) - 1


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value) else None


def _check_float(value: Any, _field: FieldDescriptor, path: str) -> None:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise invalid_config(path, f"expected a number, found {_shown(value)}")


_SCALARS: dict[int, Callable[[Any, FieldDescriptor, str], None]] = {
    FieldDescriptor.CPPTYPE_BOOL: _check_bool,
    FieldDescriptor.CPPTYPE_STRING: _check_string,
    FieldDescriptor.CPPTYPE_FLOAT: _check_float,
    FieldDescriptor.CPPTYPE_DOUBLE: _check_float,
    **dict.fromkeys((*_SIGNED, *_UNSIGNED), _check_integer),
}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)
