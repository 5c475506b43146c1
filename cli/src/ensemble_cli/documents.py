"""Kubernetes documents from YAML or JSON, every field with its line and column.

Scalars mean what they mean to kubectl (sigs.k8s.io/yaml, which is YAML 1.1 as Go reads it): y, n, on and off
are booleans, dates are strings, keys are strings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ensemble_cli.yaml_cures import TEMPLATE, cure_of
from ensembles_api.validation.problems import Location, path

MOST_VALUES = 100_000
"""Values of one document: more are an alias bomb, or no resource that an API server takes."""
DEEPEST = 100
LARGEST_EXACT = 2**53

_TAG = "tag:yaml.org,2002:"
_TRUE = frozenset({"y", "yes", "on", "true"})


@dataclass(frozen=True)
class Position:
    """Both from 1."""

    line: int
    column: int


class DocumentError(Exception):
    """A file that is no YAML, or YAML that is no JSON."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True)
class Document:
    """One resource of a file. `positions`: field, as in spec.models[0].name -> where it stands."""

    data: Any
    positions: Mapping[str, Position]

    def position(self, field: str) -> Position:
        """Of a field; of the nearest one around it that is there, where it is missing."""
        while field and field not in self.positions:
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return self.positions[field]


class _Loader(yaml.SafeLoader):
    """Resolves plain scalars as Go's YAML does."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own way


def _resolve(kind: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"{_TAG}{kind}", re.compile(pattern), list(first) or [""])


_resolve("bool", r"^(?:y|Y|yes|Yes|YES|on|On|ON|true|True|TRUE)$", "yYoOtT")
_resolve("bool", r"^(?:n|N|no|No|NO|off|Off|OFF|false|False|FALSE)$", "nNoOfF")
_resolve("null", r"^(?:~|null|Null|NULL)$", "~nN")
_resolve("null", r"^$", "")
_resolve("merge", r"^<<$", "<")
_resolve("int", r"^[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*|0)$", "-+0123456789")
_resolve("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789")
_resolve("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+.")


class _Dumper(yaml.SafeDumper):
    """Quotes what PyYAML or kubectl would take for something else than a string."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        first: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
            *_Loader.yaml_implicit_resolvers.get(first, []),
        ]
        for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
    }

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def write_yaml(data: Any) -> str:
    """YAML that kubectl reads back as the same; keys keep their order."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def read_documents(text: str) -> Iterator[Document]:
    """Every resource of a file: its documents, and the items of Lists. Empty documents are left out.

    Raises:
        DocumentError: with the place.
    """
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            for resource in _resources(node):
                reader = _Reader()
                data = reader.value(resource, ())
                if data is not None:
                    yield Document(data, reader.positions)
    except RecursionError as error:
        raise DocumentError("is nested too deeply, or an alias holds itself", Position(1, 1)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        what = ", ".join(part for part in (error.context, error.problem) if part)
        line = text.split("\n")[position.line - 1 : position.line]
        raise DocumentError(f"is no YAML: {what}; {cure_of(what, ''.join(line))}", position) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise DocumentError(f"is no text: {error.reason}; remove the character", position) from error


def _resources(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        fields = {key.value: value for key, value in node.value if isinstance(key, ScalarNode)}
        kind, items = fields.get("kind"), fields.get("items")
        if isinstance(kind, ScalarNode) and kind.value.endswith("List") and isinstance(items, SequenceNode):
            yield from items.value
            return
    yield node


class _Reader:
    """Turns a node into its value and remembers where everything stood."""

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}

    def value(self, node: Node, location: Location) -> Any:
        self.positions.setdefault(path(location), _start(node))
        if len(self.positions) > MOST_VALUES or len(location) > DEEPEST:
            raise DocumentError("is nested too deeply, or its aliases make it too large", _start(node))
        if isinstance(node, ScalarNode):
            return _scalar(node)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._mapping(node, location)

    def _mapping(self, node: Node, location: Location) -> dict[str, Any]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                for name, (at, item) in _merged(value).items():
                    merged.setdefault(name, item)
                    self.positions.setdefault(path((*location, name)), _start(at))
                continue
            name = _key(key)
            if name in own:
                raise DocumentError(f"key {name!r} stands twice in one object: keep one", _start(key))
            own[name] = value
            self.positions[path((*location, name))] = _start(key)
        return {name: self.value(item, (*location, name)) for name, item in {**merged, **own}.items()}


def _merged(node: Node) -> dict[str, tuple[Node, Node]]:
    """Name -> (key, value) of what << brings; the first of several objects wins."""
    nodes = node.value if isinstance(node, SequenceNode) else [node]
    found: dict[str, tuple[Node, Node]] = {}
    for item in nodes:
        if not isinstance(item, MappingNode):
            raise DocumentError("<< takes an object, or a list of objects", _start(item))
        for key, value in item.value:
            if key.tag == f"{_TAG}merge":
                found = {**_merged(value), **found}
            else:
                found.setdefault(_key(key), (key, value))
    return found


def _key(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        is_template = isinstance(node, MappingNode)  # {{ NAME }} is an object whose key is an object
        raise DocumentError(
            f"a key must be a string; {TEMPLATE if is_template else 'quote it'}", _start(node)
        )
    value = _scalar(node)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(node.value if value is None else value)


def _scalar(node: ScalarNode) -> Any:
    text: str = node.value
    match node.tag.removeprefix(_TAG):
        case "str" | "merge" | "timestamp":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() in _TRUE
    try:
        if node.tag == f"{_TAG}int":
            return _integer(text)
        if node.tag == f"{_TAG}float":
            return _number(text)
    except ValueError:
        message = f"{text!r} is no number that JSON has: quote it, or write another"
        raise DocumentError(message, _start(node)) from None
    raise DocumentError(f"the tag {node.tag!r} means nothing to Kubernetes: remove it", _start(node))


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if re.fullmatch("0[0-7]+", digits):
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _number(text: str) -> float | int:
    number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(number):
        raise ValueError(text)
    # Go writes 8.0 into JSON as 8: the API server takes it for an integer.
    return int(number) if number.is_integer() and abs(number) < LARGEST_EXACT else number


def _start(node: Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)
