"""From a document to the typed spec."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError

from ensembles_api.spec import InferenceEnsembleSpec
from ensembles_api.structural import Schema, structural, without_list_defaults
from ensembles_api.validation.problems import Problem, described


class SpecError(Exception):
    """A spec that the types refuse; `problems` is never empty."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))

    @property
    def field(self) -> str:
        return self.problems[0].field


@cache
def spec_schema() -> Schema:
    """The spec's structural schema, as the API server has it."""
    return without_list_defaults(structural(InferenceEnsembleSpec))


def parse_spec(spec: dict[str, Any]) -> InferenceEnsembleSpec:
    """The typed spec.

    As strict as the API server: "4" is no number, unknown fields and snake_case spellings are refused. CEL
    rules are left to the API server (or to `validate`).

    Raises:
        SpecError: naming every field at fault.
    """
    try:
        text = json.dumps(spec, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SpecError(
            [Problem("spec", f"is not JSON: {error}; quote dates and special numbers")]
        ) from error
    try:
        return InferenceEnsembleSpec.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise SpecError(described(error.errors(include_url=False), spec_schema(), root="spec")) from error
