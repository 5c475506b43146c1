"""The InferenceEnsemble as owner: what every object of ours carries in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ensembles_api.names import (
    API_VERSION,
    KIND,
    LABEL_ENSEMBLE,
    LABEL_MANAGED_BY,
    LABEL_ROLE,
    MANAGED_BY,
)

LABEL_APP_NAME = "app.kubernetes.io/name"
LABEL_APP_INSTANCE = "app.kubernetes.io/instance"
APP_NAME = "inference-ensemble"


def owner_uids(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Uids of an object's ownerReferences. An object is an ensemble's own where the ensemble's is among them;
    labels prove nothing, since anybody can set them.
    """
    return tuple(owner["uid"] for owner in manifest["metadata"].get("ownerReferences") or ())


def product_labels(role: str, **more: str) -> dict[str, str]:
    """Labels of an object that no single ensemble owns. Further labels go in by `**{label: value}`."""
    return {LABEL_APP_NAME: APP_NAME, LABEL_MANAGED_BY: MANAGED_BY, LABEL_ROLE: role, **more}


@dataclass(frozen=True)
class Owner:
    namespace: str
    name: str
    uid: str

    def reference(self, *, controller: bool = True) -> dict[str, Any]:
        """An ownerReference. Only one owner of an object may be its controller."""
        reference = {"apiVersion": API_VERSION, "kind": KIND, "name": self.name, "uid": self.uid}
        return {**reference, "controller": True, "blockOwnerDeletion": True} if controller else reference

    def labels(self, role: str, **more: str) -> dict[str, str]:
        return product_labels(role, **{LABEL_APP_INSTANCE: self.name, LABEL_ENSEMBLE: self.name}, **more)

    def metadata(
        self, name: str, *, labels: dict[str, str], annotations: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Metadata of an object that this ensemble controls."""
        metadata: dict[str, Any] = {
            "name": name,
            "namespace": self.namespace,
            "labels": labels,
            "ownerReferences": [self.reference()],
        }
        return {**metadata, "annotations": annotations} if annotations else metadata
