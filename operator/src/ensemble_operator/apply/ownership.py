"""Whose an existing object is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ensemble_operator.apply.failures import LeavingObjectError, ObjectNotOwnedError
from ensemble_operator.names import LABEL_STORAGE
from ensemble_operator.resources.owner import owner_uids
from ensembles_api.names import KIND, LABEL_ENSEMBLE, LABEL_KEY, LABEL_MANAGED_BY, LABEL_ROLE, MANAGED_BY

Object = Mapping[str, Any]

_IDENTITY = (LABEL_MANAGED_BY, LABEL_ROLE, LABEL_ENSEMBLE, LABEL_KEY, LABEL_STORAGE)
"""Labels that identify an object without our owner reference: a shared build Job, a last prune Job."""


def check_ours(live: Object, wanted: Object, *, uid: str) -> None:
    """Make sure that an existing object is the one we mean.

    Args:
        live: as it is in the cluster.
        wanted: as the planner describes it.
        uid: of the InferenceEnsemble.

    Raises:
        LeavingObjectError: it is being deleted, or belongs to a deleted resource of the same name.
        ObjectNotOwnedError: it belongs to somebody else.
    """
    kind, name = live["kind"], live["metadata"]["name"]
    if "deletionTimestamp" in live["metadata"]:
        raise LeavingObjectError(kind=kind, name=name)
    if _is_the_one(live, wanted, uid=uid):
        return
    controller = _controller(live)
    former = {owner["name"] for owner in _owners(wanted) if owner["uid"] == uid}
    if controller and controller["kind"] == KIND and controller["name"] in former:
        raise LeavingObjectError(kind=kind, name=name)
    owner = f"{controller['kind']} {controller['name']!r}" if controller else "nobody the operator knows"
    raise ObjectNotOwnedError(kind=kind, name=name, owner=owner)


def _is_the_one(live: Object, wanted: Object, *, uid: str) -> bool:
    """Whether a live object is the one described: by its owner; by its labels where it is shared, or has no
    owner because it outlives us.
    """
    if not _is_shared(wanted) and uid in owner_uids(wanted):
        return uid in owner_uids(live)
    wants, has = _labels(wanted), _labels(live)
    return has.get(LABEL_MANAGED_BY) == MANAGED_BY and all(has.get(k) == wants.get(k) for k in _IDENTITY)


def _is_shared(wanted: Object) -> bool:
    return LABEL_KEY in _labels(wanted) and LABEL_ENSEMBLE not in _labels(wanted)


def _controller(manifest: Object) -> Mapping[str, Any] | None:
    return next((owner for owner in _owners(manifest) if owner.get("controller")), None)


def _owners(manifest: Object) -> tuple[Mapping[str, Any], ...]:
    return tuple(manifest["metadata"].get("ownerReferences") or ())


def _labels(manifest: Object) -> Mapping[str, str]:
    return manifest["metadata"].get("labels") or {}
