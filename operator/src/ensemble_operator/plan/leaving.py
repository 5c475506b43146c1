"""Pods that others wait for to end, in words: which, and what to do about one that does not."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from ensemble_operator.plan.observation import PodSeen
from ensembles_api.names import LABEL_ENSEMBLE

OVERDUE = timedelta(seconds=60)
"""So long after its grace period a pod may still be there: its node has to tell of its end."""
MOST_NAMED = 3


def named(pods: Iterable[PodSeen], now: datetime) -> str:
    """Name the pods as the end of a sentence, with the cure of the first that cannot end by itself; empty
    without pods.
    """
    there = sorted(pods, key=lambda pod: pod.name)
    if not there:
        return ""
    more = f" and {len(there) - MOST_NAMED} more" if len(there) > MOST_NAMED else ""
    names = ", ".join(f"pod {pod.name}" for pod in there[:MOST_NAMED])
    cure = next((text for pod in there if (text := _cure(pod, now))), "")
    return f": {names}{more}{cure}"


def overdue_at(pods: Iterable[PodSeen], now: datetime) -> datetime | None:
    """When the next of these pods is overdue: nothing tells of that moment."""
    times = [pod.ends_by + OVERDUE for pod in pods if pod.ends_by]
    return min((time for time in times if time > now), default=None)


def _cure(pod: PodSeen, now: datetime) -> str:
    if pod.ends_by is not None and pod.ends_by + OVERDUE <= now:
        where = f"node {pod.node}" if pod.node else "its node"
        cure = f"kubectl delete node {pod.node}" if pod.node else "delete the Node"
        return (
            f"; {pod.name} should have ended at {pod.ends_by:%H:%M:%S}Z, and {where} does not say that it "
            f"has: if that node is gone for good, {cure}"
        )
    if not pod.owned:
        return (
            f"; {pod.name} bears this ensemble's labels and is none of its servers: clients would reach it; "
            f"delete it, or take its label {LABEL_ENSEMBLE} away"
        )
    return ""
