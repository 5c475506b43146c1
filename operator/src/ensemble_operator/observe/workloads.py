"""Jobs and Deployments as read from the API -> JobSeen, DeploymentSeen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ensemble_operator.observe.pods import parse_pod, parse_time
from ensemble_operator.plan.observation import DeploymentSeen, JobSeen, JobState
from ensemble_operator.resources.owner import owner_uids

Object = Mapping[str, Any]


def pods_by_owner(pods: Iterable[Object]) -> dict[str, list[Object]]:
    """Pods by the uid of whatever made them, oldest first."""
    found: dict[str, list[Object]] = {}
    for pod in _oldest_first(pods):
        for uid in owner_uids(pod):
            found.setdefault(uid, []).append(pod)
    return found


def pods_of_deployment(deployment: Object, pods: Iterable[Object]) -> list[Object]:
    """Pods that a Deployment selects, oldest first. Their owner is a ReplicaSet, which nobody watches."""
    wanted = deployment["spec"]["selector"].get("matchLabels") or {}
    return _oldest_first(
        pod for pod in pods if wanted.items() <= (pod["metadata"].get("labels") or {}).items()
    )


def pods_of_none(deployments: Iterable[Object], pods: Iterable[Object]) -> list[Object]:
    """Pods that none of these Deployments selects."""
    left = list(pods)
    for deployment in deployments:
        taken = {pod["metadata"]["uid"] for pod in pods_of_deployment(deployment, left)}
        left = [pod for pod in left if pod["metadata"]["uid"] not in taken]
    return left


def _oldest_first(pods: Iterable[Object]) -> list[Object]:
    return sorted(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


def parse_job(manifest: Object, *, pods: Iterable[Object], create_error: str = "") -> JobSeen:
    """A Job with its pods.

    Args:
        manifest: the Job.
        pods: those of this Job, see `pods_by_owner`.
        create_error: why no pod could be made, where that was read.
    """
    metadata, status = manifest["metadata"], manifest.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions") or () if c["status"] == "True"}
    failed = conditions.get("Failed", {})
    state: JobState = "succeeded" if "Complete" in conditions else "failed" if failed else "active"
    return JobSeen(
        name=metadata["name"],
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        state=state,
        created=_created(manifest),
        finished_at=parse_time(status.get("completionTime") or failed.get("lastTransitionTime")),
        failed_reason=failed.get("reason", ""),
        owners=owner_uids(manifest),
        deleting="deletionTimestamp" in metadata,
        suspended=bool(manifest["spec"].get("suspend")),
        suspended_since=parse_time(conditions.get("Suspended", {}).get("lastTransitionTime")),
        pods=tuple(parse_pod(pod) for pod in pods),
        create_error=create_error,
    )


def parse_deployment(manifest: Object, *, pods: Iterable[Object]) -> DeploymentSeen:
    """A Deployment with its pods, see `pods_of_deployment`."""
    metadata, status = manifest["metadata"], manifest.get("status", {})
    return DeploymentSeen(
        name=metadata["name"],
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        manifest=manifest,
        replicas=manifest["spec"].get("replicas", 1),
        ready_replicas=status.get("readyReplicas", 0),
        updated_replicas=status.get("updatedReplicas", 0),
        observed=status.get("observedGeneration", 0) >= metadata.get("generation", 0),
        created=_created(manifest),
        owners=owner_uids(manifest),
        deleting="deletionTimestamp" in metadata,
        pods=tuple(parse_pod(pod) for pod in pods),
    )


def _created(manifest: Object) -> datetime:
    return parse_time(manifest["metadata"].get("creationTimestamp")) or datetime.fromtimestamp(0, tz=UTC)
