"""The CustomResourceDefinition."""

from __future__ import annotations

from typing import Any

import yaml

from ensembles_api import names
from ensembles_api.resource import NAME_RULE, InferenceEnsemble
from ensembles_api.spec import KINDS, InferenceEnsembleSpec
from ensembles_api.status import InferenceEnsembleStatus
from ensembles_api.structural import Schema, structural, undescribed, without_list_defaults

HEADER = "# Made from the Python types by `python -m ensembles_api.generate`; change those instead.\n"
NAME = f"{names.PLURAL}.{names.GROUP}"
FILE_NAME = f"{names.GROUP}_{names.PLURAL}.yaml"


def _condition(condition: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{field}'


COLUMNS: tuple[dict[str, Any], ...] = (
    {"name": "Ready", "type": "string", "jsonPath": _condition("Ready", "status")},
    {"name": "Stage", "type": "string", "jsonPath": ".status.stage"},
    {"name": "Replicas", "type": "string", "jsonPath": ".status.replicas"},
    {"name": "URL", "type": "string", "jsonPath": ".status.url"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    # A digest is 64 characters and JSONPath cannot cut it: shown with -o wide.
    {"name": "Revision", "type": "string", "jsonPath": ".status.revision", "priority": 1},
    {"name": "Message", "type": "string", "jsonPath": _condition("Ready", "message"), "priority": 1},
)

SCALE = {
    "specReplicasPath": ".spec.serving.replicas",
    "statusReplicasPath": ".status.scale.replicas",
    "labelSelectorPath": ".status.scale.selector",
}


def documented_schema() -> Schema:
    """The resource's schema with every default where it applies, for the reference page."""
    return {
        "description": " ".join((InferenceEnsemble.__doc__ or "").split()),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {names.API_VERSION}."},
            "kind": {"type": "string", "description": f"Always {names.KIND}."},
            "metadata": {"type": "object"},
            "spec": structural(InferenceEnsembleSpec),
            # kstatus reads -1 as "no controller has looked at this object yet".
            "status": {**structural(InferenceEnsembleStatus), "default": {"observedGeneration": -1}},
        },
        "x-kubernetes-validations": [NAME_RULE.as_schema()],
    }


def served_schema() -> Schema:
    """The schema that the API server enforces."""
    schema = without_list_defaults(documented_schema())
    _describe_kinds_once(schema["properties"]["spec"]["properties"]["models"]["items"]["properties"])
    return schema


def _describe_kinds_once(model: dict[str, Schema]) -> None:
    """A version's kinds are those of a model, described there: twice would make the file too large."""
    version = model["versions"]["items"]["properties"]
    for kind in KINDS:
        if kind in version:
            version[kind] = {"description": f"As {kind} of a model.", **undescribed(version[kind])}


def definition() -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": list(COLUMNS),
                    "schema": {"openAPIV3Schema": served_schema()},
                    "subresources": {"status": {}, "scale": SCALE},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def to_yaml(document: dict[str, Any]) -> str:
    # Innermost collections on one line each: in block style more than half of the file would be indentation.
    return yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True, default_flow_style=None
    )


def text() -> str:
    return HEADER + to_yaml(definition())
