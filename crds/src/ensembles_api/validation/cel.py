"""The CEL rules of a schema, evaluated offline with cel-python."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import celpy
from celpy import celtypes
from celpy.evaluation import CELEvalError

from ensembles_api.structural import Schema
from ensembles_api.validation.problems import Problem, path


def _split(text: celtypes.StringType, separator: celtypes.StringType) -> celtypes.ListType:
    """`split` of Kubernetes' string library, which cel-python does not have."""
    return celtypes.ListType(map(celtypes.StringType, str(text).split(str(separator))))


@cache
def _program(expression: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(expression), functions={"split": _split})


def broken_rules(value: Any, schema: Schema, location: tuple[str | int, ...] = ()) -> Iterator[Problem]:
    """Every rule of `schema` that `value` (already defaulted, of the right types) breaks, outermost first."""
    for rule in schema.get("x-kubernetes-validations", []):
        message = _broken(rule, value)
        if message:
            yield Problem(path(location), message)
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from broken_rules(item, schema.get("items", {}), (*location, index))
    elif isinstance(value, dict):
        properties, values = schema.get("properties", {}), schema.get("additionalProperties")
        for name, item in value.items():
            child = properties.get(name, values)
            if isinstance(child, dict):
                yield from broken_rules(item, child, (*location, name))


def _broken(rule: dict[str, str], value: Any) -> str:
    context = {"self": celpy.json_to_cel(value)}
    try:
        if _program(rule["rule"]).evaluate(context):
            return ""
    except CELEvalError as error:
        return f"{rule['message']} (the rule cannot be evaluated: {error})"
    if "messageExpression" not in rule:
        return rule["message"]
    return str(_program(rule["messageExpression"]).evaluate(context))
