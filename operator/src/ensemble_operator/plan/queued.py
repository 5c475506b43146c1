"""A Job that is suspended: by Kueue until its queue has room, or by somebody's hand. It is no failure."""

from __future__ import annotations

from ensemble_operator.names import LABEL_QUEUE
from ensemble_operator.plan.observation import JobSeen, QueueSeen
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import JobContext
from ensembles_api.names import LABEL_ROLE
from ensembles_api.reasons import Reason

LONGEST = 600
"""Characters of Kueue's own words, which name every flavor of a large queue."""


def queue_wait(job: JobSeen) -> Trouble:
    """Where it waits, since when, and why in Kueue's own words."""
    queue = job.labels.get(LABEL_QUEUE, "")
    since = job.suspended_since or job.created
    if not queue:
        return Trouble(Reason.WAITING_IN_QUEUE, f"Job {job.name} {_WITHOUT_QUEUE}", since=since)
    seen = job.queue or QueueSeen()
    if seen.message == f"LocalQueue {queue} doesn't exist":
        return Trouble(
            Reason.QUEUE_MISSING,
            f"Job {job.name} waits for Kueue's LocalQueue {queue!r}, which this namespace does not have: "
            "create it, or name another",
            field="spec.build.queueName" if job.labels.get(LABEL_ROLE) == "build" else "",
            since=since,
        )
    return Trouble(Reason.WAITING_IN_QUEUE, f"Job {job.name} {_waits(seen, queue)}", since=since)


def is_elsewhere(job: JobSeen, context: JobContext) -> bool:
    """Whether a Job of this ensemble alone waits in another queue than the spec's, which it may have left
    before. One that others share stays: they would take turns for ever.
    """
    wanted = context.build.queue_name
    alone = job.owners == (context.owner.uid,)
    return bool(wanted) and job.suspended and alone and job.labels.get(LABEL_QUEUE, "") != wanted


_WITHOUT_QUEUE = (
    "is suspended, and in no queue: resume it; if Kueue suspends Jobs without a queue here "
    "(manageJobsWithoutQueueName), make a LocalQueue named default in this namespace, or exempt the namespace"
)


_NOT_TAKEN_UP = "does the priority class of spec.build exist? Does Kueue run? Its log tells"


def _waits(seen: QueueSeen, queue: str) -> str:
    stopped = f"was stopped by Kueue ({seen.stopped}) and " if seen.stopped else ""
    if not seen.active:
        return f"{stopped}is kept out of queue {queue}: set spec.active of its Workload to true"
    if not seen.taken_up:
        return f"waits for Kueue, which has not put it into queue {queue}: {_NOT_TAKEN_UP}"
    why = f": {seen.message[:LONGEST]}" if seen.message else ""
    return f"{stopped}waits in queue {queue}{why}"
