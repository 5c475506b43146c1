"""The base of all API types and the CEL rules that travel with them.

A rule is written once, beside the type it guards: the CRD generator copies it into the schema, where the API
server enforces it, and `ensembles_api.validation` evaluates the same text offline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


@dataclass(frozen=True)
class Rule:
    """A CEL rule of an object or list.

    Args:
        cel: the expression; `self` is the value it stands on.
        message: what is wrong and what to do, shown to the user as is.
        message_cel: a CEL expression that gives a message with the offending value in it; `message` is shown
            where it cannot be evaluated.
    """

    cel: str
    message: str
    message_cel: str = ""

    def as_schema(self) -> dict[str, str]:
        schema = {"rule": self.cel, "message": self.message}
        return {**schema, "messageExpression": self.message_cel} if self.message_cel else schema


def rules(*items: Rule, **schema: Any) -> dict[str, Any]:
    """Schema extras for a type or field: its rules, and further `x-kubernetes-*` keys."""
    extra: dict[str, Any] = {key.replace("_", "-"): value for key, value in schema.items()}
    if items:
        extra["x-kubernetes-validations"] = [rule.as_schema() for rule in items]
    return extra


ATOMIC: dict[str, Any] = {"x-kubernetes-map-type": "atomic"}
FREE_FORM: dict[str, Any] = {"x-kubernetes-map-type": "atomic", "x-kubernetes-preserve-unknown-fields": True}
"""An object whose fields belong to somebody else's schema (ModelConfig, a PodSpec part), kept as given."""


def exactly_one(*fields: str, what: str) -> Rule:
    """The rule of a union. Counting with a sum costs the API server a fraction of what a list would."""
    counted = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in fields)
    return Rule(
        cel=f"{counted} == 1",
        message=f"{what}: set exactly one of {', '.join(fields)}",
    )


class ApiModel(BaseModel):
    """Frozen, camelCase on the wire, unknown fields refused (as the API server's strict field validation)."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_enum_values=False
    )

    def to_json(self) -> dict[str, Any]:
        """The document as it stands on the wire: camelCase, only what was set."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
