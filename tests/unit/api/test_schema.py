"""Properties the CRD must have whatever fields it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from ensembles_api.generate import crd
from ensembles_api.spec import KINDS
from ensembles_api.structural import Schema, UnsupportedSchemaError, structural, without_list_defaults

SIZE_LIMIT = 200 * 1024
TYPES = {"object", "array", "string", "integer", "number", "boolean"}


def nodes(schema: Schema, path: str = "", *, in_list: bool = False) -> Iterator[tuple[str, Schema, bool]]:
    yield path, schema, in_list
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}", in_list=in_list)
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]", in_list=True)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}{{}}", in_list=in_list)


ALL = list(nodes(crd.served_schema()))
OURS = [item for item in ALL if item[0].startswith((".spec", ".status"))]


def test_the_walk_reaches_the_depths() -> None:
    paths = {path for path, _, _ in ALL}
    assert ".spec.models[].versions[].tensorrt.profiles[].shapes[].min[]" in paths
    assert ".spec.serving.resources.limits{}" in paths
    assert ".status.conditions[].reason" in paths


def test_size() -> None:
    assert len(crd.text().encode()) < SIZE_LIMIT


def test_structural() -> None:
    for path, node, _ in ALL:
        assert node.get("type") in TYPES or node.get("x-kubernetes-int-or-string"), path
        assert not {"$ref", "anyOf", "title", "$defs", "const", "nullable"} & node.keys(), path
        assert node.get("additionalProperties") is not False, path


def test_everything_is_bounded() -> None:
    for path, node, _ in OURS:
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


def test_lists_hold_no_defaults() -> None:
    with_default = [path for path, node, in_list in ALL if in_list and "default" in node]
    assert with_default == []


def test_lists_of_the_spec_are_atomic() -> None:
    for path, node, _ in OURS:
        if node.get("type") == "array" and path.startswith(".spec"):
            # Below spec.models, which is atomic, keys merge nothing: they only keep names apart.
            wanted = "map" if path.endswith(".export.env") else "atomic"
            assert node.get("x-kubernetes-list-type") == wanted, path


@pytest.mark.parametrize("kind", ["dali", "tensorrt", "onnxruntime", "python", "files", "ensemble", "config"])
def test_members_of_unions_and_free_objects_are_atomic(kind: str) -> None:
    node = next(node for path, node, _ in ALL if path == f".spec.models[].{kind}")
    assert node.get("x-kubernetes-map-type") == "atomic"


def test_every_field_is_described_or_constrained() -> None:
    """`kubectl explain` on any object of the spec says what it is."""
    versions = ".spec.models[].versions[]."
    objects = [
        (path, node)
        for path, node, _ in OURS
        if node.get("properties")
        and path.startswith(".spec.")
        # Described where models have the same.
        and (not path.startswith(versions) or path.removeprefix(versions) in KINDS)
    ]
    assert [path for path, node in objects if "description" not in node and not path.endswith("[]")] == []


def test_rules_say_what_to_do() -> None:
    for path, node, _ in ALL:
        for rule in node.get("x-kubernetes-validations", []):
            assert rule["rule"], path
            assert len(rule["message"].split()) > 3, path


def test_yaml_reads_back() -> None:
    assert yaml.safe_load(crd.text()) == crd.definition()


class Inner(BaseModel):
    number: int = 3
    optional: str | None = None


class Outer(BaseModel):
    inner: Inner = Inner(number=5)
    inners: list[Inner] = []
    title: str = "a property that is called title stays"


def test_defaults_move_into_descriptions_inside_lists() -> None:
    schema = structural(Outer)
    assert schema["properties"]["inner"]["default"] == {"number": 5}
    assert schema["properties"]["inners"]["items"]["properties"]["number"]["default"] == 3
    served = without_list_defaults(schema)
    assert served["properties"]["inner"]["properties"]["number"]["default"] == 3
    assert served["properties"]["inners"]["items"]["properties"]["number"] == {
        "description": "Default: 3.",
        "type": "integer",
    }
    assert served["properties"]["title"]["type"] == "string"


def test_optional_fields_lose_null_and_default() -> None:
    assert structural(Inner)["properties"]["optional"] == {"type": "string"}


def test_a_union_of_types_is_refused() -> None:
    class Union(BaseModel):
        either: list[int] | str

    with pytest.raises(UnsupportedSchemaError, match=r"Union\.either"):
        structural(Union)


def test_dates_are_not_made_up() -> None:
    columns: list[dict[str, Any]] = list(crd.COLUMNS)
    assert [column["name"] for column in columns if column["type"] == "date"] == ["Age"]
