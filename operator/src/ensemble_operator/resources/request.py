"""The ConfigMap that carries a Request to the assemble Job."""

from __future__ import annotations

from typing import Any

from ensemble_operator import names
from ensemble_operator.resources.owner import Owner
from ensembles_api.contract import Request

REQUEST_FILE = "request.json"


def request_config_map(*, owner: Owner, inputs: str, request: Request) -> dict[str, Any]:
    """Immutable and named after its content: another attempt of the same inputs finds it again."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owner.metadata(
            names.request(owner.name, inputs),
            labels=owner.labels("request", **{names.LABEL_INPUTS: inputs[:16]}),
            annotations={names.ANNOTATION_INPUTS: inputs},
        ),
        "immutable": True,
        "data": {REQUEST_FILE: request.canonical().decode()},
    }
