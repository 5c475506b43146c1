"""A whole resource, checked as the API server would."""

from __future__ import annotations

from functools import cache
from typing import Any

from ensembles_api import names
from ensembles_api.generate.crd import served_schema
from ensembles_api.structural import Schema
from ensembles_api.validation.defaults import defaulted
from ensembles_api.validation.lists import repeated_items
from ensembles_api.validation.metadata import metadata_problems
from ensembles_api.validation.parse import SpecError, parse_spec
from ensembles_api.validation.problems import Problem, unknown

_schema = cache(served_schema)


def validate(document: dict[str, Any]) -> list[Problem]:
    """What the API server would refuse about an InferenceEnsemble; empty where it would accept it.

    Types first; the CEL rules only where the types are right, as on the API server.

    Raises:
        ImportError: cel-python is not installed.
    """
    problems = list(_envelope(document))
    if problems:
        return problems
    stored = defaulted(document, _schema())
    try:
        parse_spec(stored["spec"])
    except SpecError as error:
        return list(error.problems)
    from ensembles_api.validation.cel import broken_rules  # noqa: PLC0415 - cel-python is a development dependency

    return [*repeated_items(stored, _schema()), *broken_rules(stored, _schema())]


def _envelope(document: dict[str, Any]) -> list[Problem]:
    problems = [
        Problem(field, f"write {wanted}")
        for field, wanted in (("apiVersion", names.API_VERSION), ("kind", names.KIND))
        if document.get(field) != wanted
    ]
    known = _schema_properties(_schema())
    problems += [Problem(str(field), unknown(str(field), known)) for field in document if field not in known]
    problems += metadata_problems(document)
    if not isinstance(document.get("spec"), dict):
        problems.append(Problem("spec", "required; must be an object"))
    return problems


def _schema_properties(schema: Schema) -> list[str]:
    return list(schema["properties"])
