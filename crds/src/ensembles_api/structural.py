"""Kubernetes' structural schemas out of pydantic's JSON schemas.

A structural schema has no $ref, no null unions, no `additionalProperties: false`, and one type per node
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema).
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from pydantic import BaseModel

Schema: TypeAlias = dict[str, Any]

_ORDER = (
    "description", "type", "format", "default", "enum", "pattern", "minLength", "maxLength",
    "minimum", "maximum", "minItems", "maxItems", "maxProperties", "required", "properties", "items",
    "additionalProperties",
)  # fmt: skip
_DROPPED = frozenset({"title", "$defs", "anyOf", "$ref", "const", "additionalProperties", "propertyNames"})
_SCALARS = {"string", "integer", "number", "boolean"}


class UnsupportedSchemaError(Exception):
    """A Python type has no structural schema."""


def structural(model: type[BaseModel]) -> Schema:
    """The schema of `model`, every default in place."""
    document = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(document, document.get("$defs", {}), model.__name__)


def without_list_defaults(schema: Schema, *, in_list: bool = False) -> Schema:
    """The schema as it goes into the CRD: inside lists, defaults become part of the description.

    Tools that compare a list in Git with the list in the cluster as one value (Argo CD, JSON merge patches)
    see a default written into a list's element as a difference that never goes away.
    """
    node = dict(schema)
    if in_list and "default" in node:
        default = node.pop("default")
        if default != {}:
            stated = f"Default: {json.dumps(default)}."
            node["description"] = f"{node['description']} {stated}" if "description" in node else stated
    if "properties" in node:
        node["properties"] = {
            name: without_list_defaults(child, in_list=in_list) for name, child in node["properties"].items()
        }
    if "items" in node:
        node["items"] = without_list_defaults(node["items"], in_list=True)
    if isinstance(node.get("additionalProperties"), dict):
        node["additionalProperties"] = without_list_defaults(node["additionalProperties"], in_list=in_list)
    return _ordered(node)


def undescribed(schema: Schema) -> Schema:
    """The schema without what it says to people, at any depth."""
    node = {key: value for key, value in schema.items() if key != "description"}
    if "properties" in node:
        node["properties"] = {name: undescribed(child) for name, child in node["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            node[key] = undescribed(node[key])
    return node


def _convert(node: Schema, defs: dict[str, Schema], where: str) -> Schema:
    node = _resolved(node, defs, where)
    result = {key: value for key, value in node.items() if key not in _DROPPED}
    if result.get("default", ...) is None:
        del result["default"]
    if "const" in node:
        result["enum"] = [node["const"]]
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    if "properties" in node:
        result["properties"] = _properties(node, defs, where)
    if "items" in node:
        result["items"] = _convert(node["items"], defs, f"{where}[]")
        result.setdefault("x-kubernetes-list-type", "atomic")
    values = node.get("additionalProperties")
    if isinstance(values, dict):
        result["additionalProperties"] = _convert(values, defs, f"{where}{{}}")
    if not result.get("x-kubernetes-int-or-string") and result.get("type") not in {
        *_SCALARS,
        "object",
        "array",
    }:
        raise UnsupportedSchemaError(f"{where}: no single type in {node}")
    return _ordered(result)


def _properties(node: Schema, defs: dict[str, Schema], where: str) -> Schema:
    required = node.get("required", [])
    properties = {}
    for name, child in node["properties"].items():
        converted = _convert(child, defs, f"{where}.{name}")
        optional = any(option.get("type") == "null" for option in child.get("anyOf", []))
        if "properties" in converted and name not in required and not optional:
            stated = converted.get("default", {})
            default = {key: value for key, value in stated.items() if value is not None}
            converted = _ordered({**converted, "default": default})
        properties[name] = converted
    return properties


def _resolved(node: Schema, defs: dict[str, Schema], where: str) -> Schema:
    """`node` with its $ref or nullable union replaced by what it refers to; what stands beside it wins."""
    beside = {key: value for key, value in node.items() if key not in {"$ref", "anyOf"}}
    if "$ref" in node:
        return {**_resolved(defs[node["$ref"].rsplit("/", 1)[1]], defs, where), **beside}
    if "anyOf" not in node:
        return node
    options = [option for option in node["anyOf"] if option.get("type") != "null"]
    if len(options) == 1:
        return {**_resolved(options[0], defs, where), **beside}
    if [option.get("type") for option in options] == ["integer", "string"]:
        merged = {key: value for option in options for key, value in option.items() if key != "type"}
        return {**merged, **beside, "x-kubernetes-int-or-string": True}
    raise UnsupportedSchemaError(f"{where}: a union of {[option.get('type', option) for option in options]}")


def _ordered(node: Schema) -> Schema:
    known = {key: node[key] for key in _ORDER if key in node}
    return known | {key: node[key] for key in sorted(node) if key not in known}
