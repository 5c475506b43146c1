"""What applying a file would make of an object, as whoever applied it last would do it. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ensemble_cli.cluster.connection import Cluster, Json

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Annotation in which client-side `kubectl apply` keeps what it applied."""
NOBODY = "kubectl-ensemble"
"""Who applies an object that nobody has applied: nothing is removed from it."""


def planned(cluster: Cluster, path: str, live: Json | None, document: Json) -> Json:
    """The object as it would be, defaults filled in by the API server.

    Fields that the file no longer has go where who applied them lets go of them: by server-side apply under
    the same field manager, or by the difference from what client-side apply remembers.

    Raises:
        CommandError: the API server refuses it.
    """
    if live is None:
        return cluster.dry_apply(path, document, manager=NOBODY)
    manager = applier(live)
    remembered = live["metadata"].get("annotations", {}).get(LAST_APPLIED)
    if manager or not remembered:
        return cluster.dry_apply(path, document, manager=manager or NOBODY)
    return cluster.patch(path, without_left_out(json.loads(remembered), document), dryRun="All")


def applier(live: Json) -> str:
    """The field manager that holds most of the spec by server-side apply; empty where none does."""
    holding = {
        entry["manager"]: len(json.dumps(fields["f:spec"]))
        for entry in live["metadata"].get("managedFields", [])
        if entry.get("operation") == "Apply" and "f:spec" in (fields := entry.get("fieldsV1") or {})
    }
    return max(holding, key=lambda manager: holding[manager], default="")


def without_left_out(before: Mapping[str, Any], after: Mapping[str, Any]) -> Json:
    """A merge patch to `after` that also removes what `before` has and `after` has not."""
    patch: Json = {name: None for name in before if name not in after}
    for name, value in after.items():
        known = before.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            patch[name] = without_left_out(known, value)
        else:
            patch[name] = value
    return patch
