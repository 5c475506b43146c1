"""ControllerRevisions, Services and the like as read from the API -> RolloutSeen, ObjectSeen."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from ensemble_operator.observe.pods import parse_time
from ensemble_operator.plan.observation import ObjectSeen, RolloutSeen
from ensemble_operator.resources.owner import owner_uids
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.names import LABEL_ENSEMBLE

Object = Mapping[str, Any]

LABEL_SERVICE_NAME = "kubernetes.io/service-name"
"""On EndpointSlices, by Kubernetes."""

_log = logging.getLogger(__name__)


def parse_rollout(manifest: Object) -> RolloutSeen | None:
    """A rollout, or None where its data is of a shape this version cannot read."""
    metadata = manifest["metadata"]
    created = parse_time(metadata["creationTimestamp"])
    try:
        data = RolloutData.model_validate(manifest.get("data"))
    except ValidationError as error:
        _log.warning(
            "rollout cannot be read",
            extra={"namespace": metadata["namespace"], "object": metadata["name"], "error": str(error)},
        )
        return None
    if created is None:  # pragma: no cover - the API server always sets it
        raise ValueError(f"{metadata['name']}: creationTimestamp is missing")
    return RolloutSeen(
        name=metadata["name"],
        uid=metadata["uid"],
        number=manifest["revision"],
        data=data,
        annotations=metadata.get("annotations") or {},
        created=created,
    )


def parse_object(manifest: Object) -> ObjectSeen:
    metadata = manifest["metadata"]
    return ObjectSeen(
        name=metadata["name"],
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        owners=owner_uids(manifest),
        manifest=manifest,
        deleting="deletionTimestamp" in metadata,
    )


def spec_manager(metadata: Object) -> str:
    """The field manager that changed the spec last; empty where that is not known."""
    entries = [entry for entry in metadata.get("managedFields") or () if is_of_spec(entry)]
    newest = max(entries, key=lambda entry: str(entry.get("time") or ""), default=None)
    return str(newest.get("manager") or "") if newest else ""


def is_of_spec(entry: Object) -> bool:
    """Whether an entry of managedFields holds fields of the spec by more than scaling it."""
    return not entry.get("subresource") and "f:spec" in (entry.get("fieldsV1") or {})


def has_ready_endpoint(slices: Iterable[Object], *, service: str) -> bool:
    """Whether a Service has an address that takes requests.

    An absent `ready` counts as ready: that is how the EndpointSlice API defines it.
    """
    return any(
        (endpoint.get("conditions") or {}).get("ready", True) is not False
        for piece in slices
        if (piece["metadata"].get("labels") or {}).get(LABEL_SERVICE_NAME) == service
        for endpoint in piece.get("endpoints") or ()
    )


def belongs_to(manifest: Object, *, ensemble: str) -> bool:
    return bool((manifest["metadata"].get("labels") or {}).get(LABEL_ENSEMBLE) == ensemble)
