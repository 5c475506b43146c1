"""Why a Job or a pod does not get on, where nothing that is watched tells: from Events and Workloads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.kinds import EVENT
from ensemble_operator.observe.queues import seen_in_queue
from ensemble_operator.plan.observation import CLAIMS, JobSeen, PodSeen, QueueSeen

Object = Mapping[str, Any]

SILENT = timedelta(seconds=30)
"""A Job without pod for so long, or a pod without its claim, has a reason, which its Events tell."""
QUEUED = timedelta(seconds=30)
"""Workloads are not watched: so often they are read while they hold a Job back."""


class Waits:
    """Reads what is asked for only while something waits. Usable from several threads.

    Every method raises `ensemble_operator.cluster.errors.ApiError` where the API server does not answer, and
    returns when to look again: None where the watches will tell.
    """

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    def of_job(
        self, job: JobSeen, manifest: Object, *, ours: bool, now: datetime
    ) -> tuple[JobSeen, datetime | None]:
        """The Job with what keeps it from its pod, or its pods from their claims.

        Args:
            job: as parsed.
            manifest: the same.
            ours: whether the ensemble is one of its owners: others look after theirs.
            now: the time of this look.
        """
        if job.state != "active" or job.deleting or (job.suspended and not ours):
            return job, None
        if job.suspended:
            return replace(job, queue=self._queue(job, manifest, now)), now + QUEUED
        namespace = manifest["metadata"]["namespace"]
        if job.pods:
            pods, again = self.of_pods(namespace, job.pods if ours else (), now=now)
            return (replace(job, pods=pods) if ours else job), again
        silent_until = job.created + SILENT
        if silent_until > now:
            return job, silent_until
        error = self._newest(namespace, kind="Job", name=job.name, reason="FailedCreate")
        return replace(job, create_error=error), now + SILENT

    def _queue(self, job: JobSeen, manifest: Object, now: datetime) -> QueueSeen | None:
        seen = seen_in_queue(self._api, manifest)
        is_new = now - (job.suspended_since or job.created) < SILENT
        return QueueSeen() if seen is not None and not seen.taken_up and is_new else seen

    def of_pods(
        self, namespace: str, pods: Iterable[PodSeen], *, now: datetime
    ) -> tuple[tuple[PodSeen, ...], datetime | None]:
        """The pods, with why the claims of those that wait for them are not there."""
        looks = [self._of_pod(namespace, pod, now=now) for pod in pods]
        return tuple(pod for pod, _ in looks), min((at for _, at in looks if at is not None), default=None)

    def _of_pod(self, namespace: str, pod: PodSeen, *, now: datetime) -> tuple[PodSeen, datetime | None]:
        if not _may_lack_claim(pod):
            return pod, None
        silent_until = (pod.created or now) + SILENT
        if silent_until > now:
            return pod, silent_until
        reason = "FailedPrepareDynamicResources" if pod.scheduled else "FailedResourceClaimCreation"
        error = self._newest(namespace, kind="Pod", name=pod.name, reason=reason)
        return replace(pod, claim_error=error), now + SILENT

    def _newest(self, namespace: str, *, kind: str, name: str, reason: str) -> str:
        """Message of the newest such Event; empty where there is none."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name},reason={reason}"
        events = self._api.list(EVENT, namespace, field_selector=selector).items
        newest = max(events, key=_last_seen, default=None)
        return str(newest.get("message") or "") if newest else ""


def _may_lack_claim(pod: PodSeen) -> bool:
    """Of a pod whose claims are not made the scheduler says nothing at all, nor does the kubelet of one whose
    claims its node cannot prepare.
    """
    silent = not (pod.set_up or pod.unscheduled_reason or pod.deleting)
    return CLAIMS in pod.devices and pod.phase == "Pending" and silent


def _last_seen(event: Object) -> str:
    """Newest of an Event's times, as text that sorts."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return max(str(time) for time in (*times, "") if time is not None)
