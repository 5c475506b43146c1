"""Failures and waits as values, and when to try again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ensembles_api.reasons import REASONS, Nature, Reason

GRACE = timedelta(seconds=120)
"""GitOps tools apply a resource and what it refers to in any order: so long a missing thing is no error."""
GRACE_RETRY = timedelta(seconds=10)
STALLED_RETRY = timedelta(minutes=5)
BACKOFF_BASE = timedelta(seconds=5)
BACKOFF_CAP = timedelta(minutes=5)


@dataclass(frozen=True)
class Trouble:
    """Something that keeps a lane from going on."""

    reason: Reason
    message: str
    field: str = ""
    since: datetime | None = None
    """First failure of this step."""
    attempt: int = 0
    retry_at: datetime | None = None

    @property
    def nature(self) -> Nature:
        return REASONS[self.reason].nature

    def stalled(self, now: datetime) -> bool:
        """Whether it needs the user: never for the world's faults and for waits."""
        if self.nature is Nature.GRACE:
            return self.since is not None and now - self.since > GRACE
        return self.nature is Nature.USER and self.retry_at is None

    def what(self) -> str:
        """Field and what is wrong: the same at every attempt."""
        return f"{self.field}: {self.message}" if self.field else self.message

    def text(self) -> str:
        """The condition's message: what is wrong, when it is tried again or since when it waits."""
        head, tail = self.what(), ""
        if self.retry_at:
            tail = f" (attempt {self.attempt}, next at {self.retry_at:%H:%M:%S}Z)"
        if self.nature is Nature.WAITING and self.since:
            tail = f" (since {self.since:%Y-%m-%dT%H:%M:%SZ})"
        return head[: 4000 - len(tail)] + tail


def backoff(attempt: int) -> timedelta:
    """Give the wait after attempt 1, 2, 3 …: 5 s, 10 s, 20 s … and at most 5 min."""
    doublings = min(attempt - 1, 10)
    return min(BACKOFF_CAP, BACKOFF_BASE * (1 << doublings))


def retry_time(
    reason: Reason, *, attempt: int, finished: datetime, since: datetime, now: datetime
) -> datetime | None:
    """When a failed step is tried again; None where only a change of the resource helps."""
    nature = REASONS[reason].nature
    if reason is Reason.OUT_OF_MEMORY and attempt == 1:
        return finished  # a neighbour's peak may have been the cause: once is forgiven
    if nature is Nature.GRACE:
        return finished + (GRACE_RETRY if now - since <= GRACE else STALLED_RETRY)
    if nature in {Nature.WORLD, Nature.WAITING}:
        return finished + backoff(attempt)
    return None
