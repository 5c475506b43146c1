"""What is wrong with a document, said with the field's path and a cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails


@dataclass(frozen=True)
class Problem:
    """A field's fault; `field` is a path such as spec.models[2].dali.function."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


Location = Sequence[str | int]


def path(location: Location) -> str:
    """('spec', 'models', 2, 'name') -> spec.models[2].name; keys that are no identifiers are bracketed."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f"[{part}]"
    return text


def described(errors: Iterable[ErrorDetails], schema: dict[str, Any], *, root: str) -> list[Problem]:
    """Pydantic's errors as problems, one for each field.

    Args:
        errors: of a validation of one document.
        schema: the structural schema of that document; gives names, types and descriptions.
        root: path of the document itself, as in "spec".
    """
    messages: dict[str, list[str]] = {}
    for error in errors:
        location, node = _walk(error["loc"], schema)
        field = path([root, *location] if root else location)
        message = _message(error, node)
        if message not in messages.setdefault(field, []):
            messages[field].append(message)
    return [Problem(field, " or ".join(texts)) for field, texts in messages.items()]


def _walk(location: Location, schema: dict[str, Any]) -> tuple[list[str | int], dict[str, Any]]:
    """The part of pydantic's location that is in the document (it appends names of union members)."""
    walked: list[str | int] = []
    node = schema
    for part in location:
        if isinstance(part, int) and "items" in node:
            node = node["items"]
        elif part in node.get("properties", {}):
            node = node["properties"][part]
        elif isinstance(node.get("additionalProperties"), dict):
            node = node["additionalProperties"]
        elif "properties" in node:
            return [*walked, part], {"siblings": list(node["properties"])}
        else:
            break
        walked.append(part)
    return walked, node


_WORDS = {
    r"^[a-z0-9]([a-z0-9.\-]*[a-z0-9])?$": "use lower-case letters, digits, - and .",
    r"^[a-z0-9]([a-z0-9\-]*[a-z0-9])?$": "use lower-case letters, digits and -",
    r"^[A-Za-z0-9_.\-]+$": "use letters, digits, - _ and .",
    r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$": "use letters, digits, - _ and .",
    r"^[A-Za-z0-9_\-][A-Za-z0-9_.\-]*$": "use letters, digits, - _ and .",
    r"^[A-Za-z0-9]([A-Za-z0-9_.\-]*[A-Za-z0-9])?$": "use letters, digits, - _ and .",
    r"^([A-Za-z0-9]([A-Za-z0-9_.\-]*[A-Za-z0-9])?)?$": "use letters, digits, - _ and .",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "use letters, digits and _",
    r"^[A-Z][A-Z0-9_]*$": "use capitals, digits and _",
    r"^[0-9a-f]{64}$": "write all 64 digits of the SHA-256, in lower case",
    r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$": "write a quantity such as 500m or 2Gi",
    r"^[1-9][0-9]*(Mi|Gi)$": "write a size such as 512Mi or 2Gi",
    r"^[A-Za-z0-9_.\-]+(/[A-Za-z0-9_.\-]+)*$": "write a relative path of letters, digits, - _ and .",
    r"^\S+$": "remove the spaces",
}
"""What a pattern asks for; the others say it themselves, or have a description."""

_WANTED = {
    "string_type": "must be a string; quote it",
    "int_type": "must be a whole number without quotes",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


def _message(error: ErrorDetails, node: dict[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown(str(error["loc"][-1]), node.get("siblings", []))
    if kind == "missing":
        return _with_description("required; add it", node)
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        words = f": {_WORDS[pattern]}" if pattern in _WORDS else ""
        return _with_description(f"{error['input']!r} does not match {pattern}{words}", node)
    if kind in {"enum", "literal_error"}:
        return f"{error['input']!r} is not one of {', '.join(map(str, node.get('enum', [])))}"
    if kind in _WANTED:
        return _WANTED[kind]
    text = error["msg"]
    return text[0].lower() + text[1:]


def unknown(name: str, siblings: Sequence[str]) -> str:
    """What to say of a field that is not known, where `siblings` are."""
    close = difflib.get_close_matches(name, siblings, n=1)
    cure = f"did you mean {close[0]}?" if close else f"known here: {', '.join(siblings)}"
    return f"unknown field; {cure}"


def _with_description(text: str, node: dict[str, Any]) -> str:
    return f"{text} ({node['description']})" if "description" in node else text
