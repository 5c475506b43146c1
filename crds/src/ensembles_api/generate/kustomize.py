"""kustomize's list of the fields in which an InferenceEnsemble names other objects."""

from __future__ import annotations

from collections.abc import Iterator

from ensembles_api import names
from ensembles_api.generate import crd
from ensembles_api.structural import Schema

KINDS = {
    "configMap": "ConfigMap",
    "caConfigMap": "ConfigMap",
    "secretName": "Secret",
    "imagePullSecrets": "Secret",
    "serviceAccountName": "ServiceAccount",
}
"""Kind of the object that a field of this name means."""

HEADER = f"""\
# Where an InferenceEnsemble names other objects: kustomize needs it to follow the names that generators,
# prefixes and suffixes change. List it under `configurations` beside the generator.
{crd.HEADER}"""


def references() -> str:
    """A transformer configuration for kustomize."""
    found = sorted(_references(crd.served_schema()["properties"]["spec"], "spec"))
    entries = [
        {
            "kind": kind,
            "version": "v1",
            "fieldSpecs": [{"kind": names.KIND, "path": path} for owner, path in found if owner == kind],
        }
        for kind in sorted(set(KINDS.values()))
    ]
    return HEADER + crd.to_yaml({"nameReference": entries})


def _references(schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    """Kind and path of each; kustomize's paths do not mention that a field is a list."""
    for name, field in schema.get("properties", {}).items():
        if name in KINDS:
            yield KINDS[name], f"{path}/{name}" + ("" if field["type"] == "string" else "/name")
        else:
            yield from _references(field, f"{path}/{name}")
    if "items" in schema:
        yield from _references(schema["items"], path)
