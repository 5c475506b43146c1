"""docs/api-reference.md: every field of the resource, from the CRD's schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ensembles_api import names
from ensembles_api.generate.crd import COLUMNS, documented_schema
from ensembles_api.resource import NAME_LIMIT
from ensembles_api.structural import Schema

MADE_BY = "<!-- Made from the Python types by `python -m ensembles_api.generate`; change those instead. -->"
_TABLE = ("| Field | Type | Default | Description |", "|---|---|---|---|")


def page() -> str:
    spec = documented_schema()["properties"]["spec"]
    status = documented_schema()["properties"]["status"]
    return "\n".join(
        (
            f"# {names.KIND} ({names.API_VERSION})",
            "",
            MADE_BY,
            "",
            f"Namespaced, short name `{names.SHORT_NAME}`. `metadata.name` has at most {NAME_LIMIT}",
            "lower-case letters, digits and hyphens and begins with a letter.",
            "Fields in **bold** are required. Unknown fields are refused.",
            "",
            *_Reference().sections("spec", spec),
            *_Reference().sections("status", status),
            "## Columns of `kubectl get`",
            "",
            "| Column | Field | Shown |",
            "|---|---|---|",
            *(f"| {column['name']} | `{column['jsonPath']}` | {_shown(column)} |" for column in COLUMNS),
            "",
            "## Annotations",
            "",
            "| Annotation | Effect |",
            "|---|---|",
            f"| `{names.ANNOTATION_REQUESTED_AT}` | Any new value looks at every source again. |",
            f"| `{names.ANNOTATION_ABANDON_STORAGE}` | `deletionPolicy: Delete` gives up on the revisions. |",
            "",
        )
    )


def _shown(column: dict[str, Any]) -> str:
    return "with `-o wide`" if column.get("priority") else "always"


class _Reference:
    """Walks a schema; a type that stands in several places is described at the first."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def sections(self, path: str, schema: Schema) -> Iterator[str]:
        """One section for the object at `path`, then one for each object inside."""
        yield from (f"## {path}", "")
        if "description" in schema:
            yield from (schema["description"], "")
        children: list[tuple[str, Schema]] = []
        yield from _TABLE
        for name, child in schema["properties"].items():
            inner_path, inner = _inner(f"{path}.{name}", child)
            link = ""
            if "properties" in inner:
                link = self._first_place(inner_path, inner)
                if link == inner_path:
                    children.append((inner_path, inner))
            yield _row(name, child, required=name in schema.get("required", []), link=link)
        yield ""
        yield from _rules(schema)
        for inner_path, inner in children:
            yield from self.sections(inner_path, inner)

    def _first_place(self, path: str, schema: Schema) -> str:
        """Where this type is described: at `path`, or wherever it came up first."""
        return self._seen.setdefault(json.dumps(schema["properties"], sort_keys=True), path)


def _inner(path: str, schema: Schema) -> tuple[str, Schema]:
    while "items" in schema:
        path, schema = f"{path}[]", schema["items"]
    return path, schema


def _row(name: str, schema: Schema, *, required: bool, link: str) -> str:
    shown = f"**`{name}`**" if required else f"`{name}`"
    default = f"`{json.dumps(schema['default'])}`" if schema.get("default", {}) != {} else ""
    # Rules of an object stand below the object's own table.
    rules = [] if "properties" in schema else schema.get("x-kubernetes-validations", [])
    parts = (
        schema.get("description", ""),
        _limits(schema),
        *(f"Rule: {rule['message']}." for rule in rules),
    )
    text = " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)
    kind = f"[{_type(schema)}](#{_anchor(link)})" if link else _type(schema)
    return f"| {shown} | {kind} | {default} | {text.replace('|', chr(92) + '|')} |"


def _anchor(heading: str) -> str:
    return "".join(character for character in heading.lower() if character.isalnum() or character in "-_ ")


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "any object"
    return str(schema["type"])


def _limits(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    element = schema.get("items", {})
    texts = (
        f"One of {', '.join(f'`{value}`' for value in schema.get('enum', []))}." if "enum" in schema else "",
        f"{low} to {high}." if low is not None and high is not None else "",
        f"At least {low}." if low is not None and high is None else "",
        f"Matches `{schema['pattern']}`." if "pattern" in schema else "",
        f"At most {schema['maxLength']} characters." if "maxLength" in schema else "",
        f"At most {schema['maxItems']} elements." if "maxItems" in schema else "",
        f"Elements match `{element['pattern']}`." if "pattern" in element else "",
        f"At most {schema['maxProperties']} keys." if "maxProperties" in schema else "",
    )
    return " ".join(text for text in texts if text)


def _rules(schema: Schema) -> Iterator[str]:
    rules = schema.get("x-kubernetes-validations", [])
    if rules:
        yield "Rules:"
        yield ""
        yield from (f"- {rule['message']}" for rule in rules)
        yield ""
