"""Pods as read from the API -> PodSeen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ensemble_operator.plan.observation import CLAIMS, ContainerSeen, PodSeen

Object = Mapping[str, Any]


def parse_time(text: str | None) -> datetime | None:
    """RFC 3339 as the API writes it; None where absent."""
    return datetime.fromisoformat(text) if text else None


def parse_pod(manifest: Object) -> PodSeen:
    metadata, status = manifest["metadata"], manifest.get("status", {})
    scheduled, readiness = _condition(status, "PodScheduled"), _condition(status, "Ready")
    unscheduled = scheduled.get("status") == "False"
    return PodSeen(
        name=metadata["name"],
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        ready=readiness.get("status") == "True",
        not_ready_since=(
            parse_time(readiness.get("lastTransitionTime")) if readiness.get("status") == "False" else None
        ),
        ready_since=parse_time(readiness.get("lastTransitionTime"))
        if readiness.get("status") == "True"
        else None,
        deleting="deletionTimestamp" in metadata,
        ends_by=parse_time(metadata.get("deletionTimestamp")),
        node=manifest.get("spec", {}).get("nodeName") or "",
        owned=bool(metadata.get("ownerReferences")),
        scheduled=scheduled.get("status") == "True" or bool(manifest.get("spec", {}).get("nodeName")),
        unscheduled_reason=scheduled.get("reason", "") if unscheduled else "",
        unscheduled_message=scheduled.get("message", "") if unscheduled else "",
        devices=tuple(sorted(_devices(manifest.get("spec", {})))),
        claim_templates=tuple(sorted(_claim_templates(manifest.get("spec", {})))),
        node_selector=manifest.get("spec", {}).get("nodeSelector") or {},
        set_up=_condition(status, "PodReadyToStartContainers").get("status") == "True",
        disrupted=_condition(status, "DisruptionTarget").get("status") == "True",
        created=parse_time(metadata.get("creationTimestamp")),
        started_at=parse_time(status.get("startTime")),
        containers=tuple(_containers(status)),
    )


def _devices(spec: Object) -> set[str]:
    """Names of extended resources (the only ones with a domain before a slash), and CLAIMS."""
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    limits = [(container.get("resources") or {}).get("limits") or {} for container in containers]
    claims = {CLAIMS} if spec.get("resourceClaims") else set()
    return {name for limit in limits for name in limit if "/" in name} | claims


def _claim_templates(spec: Object) -> set[str]:
    names = (claim.get("resourceClaimTemplateName") for claim in spec.get("resourceClaims") or ())
    return {name for name in names if name}


def _condition(status: Object, kind: str) -> Object:
    return next((c for c in status.get("conditions") or () if c["type"] == kind), {})


def _containers(status: Object) -> Iterator[ContainerSeen]:
    for container in status.get("initContainerStatuses") or ():
        yield _container(container, init=True)
    for container in status.get("containerStatuses") or ():
        yield _container(container, init=False)


def _container(seen: Object, *, init: bool) -> ContainerSeen:
    state = seen.get("state") or {}
    waiting = state.get("waiting") or {}
    running = state.get("running") or {}
    terminated = state.get("terminated") or (seen.get("lastState") or {}).get("terminated") or {}
    return ContainerSeen(
        name=seen["name"],
        init=init,
        running="running" in state,
        ready=bool(seen.get("ready")),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        exit_code=terminated.get("exitCode"),
        terminated_reason=terminated.get("reason", ""),
        termination_message=terminated.get("message", ""),
        started_at=parse_time(running.get("startedAt") or terminated.get("startedAt")),
        finished_at=parse_time(terminated.get("finishedAt")),
        restarts=seen.get("restartCount", 0),
    )
