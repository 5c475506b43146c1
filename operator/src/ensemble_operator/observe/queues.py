"""What Kueue says of a Job that it holds back.

Kueue need not be installed: a Workload is looked for only where a Job is suspended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import ForbiddenError, NotFoundError, UnavailableError
from ensemble_operator.cluster.kinds import WORKLOADS
from ensemble_operator.plan.observation import QueueSeen

LABEL_JOB_UID = "kueue.x-k8s.io/job-uid"
"""On the Workload that Kueue makes for a Job."""


def seen_in_queue(api: KubernetesApi, job: Mapping[str, Any]) -> QueueSeen | None:
    """What the Workload of a Job says; None where there is no Kueue, where it is away, or where the operator
    may not read it: what serves does not wait for these words.
    """
    metadata = job["metadata"]
    selector = f"{LABEL_JOB_UID}={metadata['uid']}"
    for kind in WORKLOADS:
        try:
            found = api.list(kind, metadata["namespace"], label_selector=selector).items
        except (NotFoundError, UnavailableError):
            # Another release of Kueue, or none; or it is away, and would have to convert what is stored.
            continue
        except ForbiddenError:
            return None
        return parse_workload(found[0]) if found else QueueSeen(taken_up=False)
    return None


def parse_workload(manifest: Mapping[str, Any]) -> QueueSeen:
    status = manifest.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    reserved, evicted = conditions.get("QuotaReserved", {}), conditions.get("Evicted", {})
    was_evicted = evicted.get("status") == "True"
    no_room = reserved.get("message", "") if reserved.get("status") == "False" else ""
    return QueueSeen(
        message=no_room or "; ".join(_open_checks(status)),
        stopped=evicted.get("reason", "") if was_evicted else "",
        active=manifest["spec"].get("active") is not False,
    )


def _open_checks(status: Mapping[str, Any]) -> Iterator[str]:
    """What else must agree once there is room: nodes that are to be made, another cluster."""
    for check in status.get("admissionChecks") or ():
        if check["state"] != "Ready":
            said = f": {check['message']}" if check.get("message") else ""
            yield f"admission check {check['name']} is {check['state']}{said}"
