"""Removing revisions from storage: those over the history limit, and all of them on deletion with policy Delete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ensemble_operator import names
from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Create, Delete
from ensemble_operator.plan.build_lane import job_context
from ensemble_operator.plan.desired import Desired
from ensemble_operator.plan.jobs import Failed, Running, Succeeded, attempt_of, judge
from ensemble_operator.plan.observation import JobSeen, Observation, RolloutSeen
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import prune_job

ALL = "all"


@dataclass(frozen=True)
class PruneOutcome:
    done: bool = False
    trouble: Trouble | None = None
    actions: tuple[Action, ...] = ()
    wake: datetime | None = None


def prune(
    observation: Observation,
    desired: Desired,
    config: OperatorConfig,
    *,
    revisions: tuple[str, ...] | None,
    owned: bool,
) -> PruneOutcome:
    """Run a prune Job for these revisions (None: everything of the ensemble) until it has succeeded."""
    token = names.digest(sorted(revisions)) if revisions is not None else ALL
    jobs = [job for job in _prune_jobs(observation) if _token(job) == token]
    strangers = tuple(
        Delete("Job", job.name, job.uid) for job in _prune_jobs(observation) if _token(job) != token
    )
    newest = max(jobs, key=attempt_of, default=None)
    if newest is None:
        return PruneOutcome(actions=(*strangers, _create(observation, desired, config, revisions, owned, 1)))
    verdict = judge(newest, now=observation.now)
    if isinstance(verdict, Succeeded):
        return PruneOutcome(done=True, actions=tuple(Delete("Job", job.name, job.uid) for job in jobs))
    if isinstance(verdict, Running):
        return PruneOutcome(trouble=verdict.wait, wake=observation.now + timedelta(seconds=30))
    return _again(observation, desired, config, revisions, owned, newest, verdict)


def _again(
    observation: Observation,
    desired: Desired,
    config: OperatorConfig,
    revisions: tuple[str, ...] | None,
    owned: bool,  # noqa: FBT001
    newest: JobSeen,
    verdict: Failed,
) -> PruneOutcome:
    trouble = verdict.trouble
    if trouble.retry_at is not None and trouble.retry_at <= observation.now:
        again = _create(observation, desired, config, revisions, owned, attempt_of(newest) + 1)
        return PruneOutcome(trouble=trouble, actions=(Delete("Job", newest.name, newest.uid), again))
    return PruneOutcome(trouble=trouble, wake=trouble.retry_at)


def _prune_jobs(observation: Observation) -> list[JobSeen]:
    return [
        job
        for job in observation.jobs
        if job.labels.get("ensembles.dev/role") == "prune" and not job.deleting
    ]


def _token(job: JobSeen) -> str:
    return job.annotations.get(names.ANNOTATION_INPUTS, "")


def _create(
    observation: Observation,
    desired: Desired,
    config: OperatorConfig,
    revisions: tuple[str, ...] | None,
    owned: bool,  # noqa: FBT001
    attempt: int,
) -> Action:
    token = names.digest(sorted(revisions)) if revisions is not None else ALL
    return Create(
        prune_job(
            context=job_context(observation, desired, config),
            token=token,
            remove=revisions,
            attempt=attempt,
            owned=owned,
        )
    )


def unshared(observation: Observation, surplus: list[RolloutSeen]) -> tuple[str, ...]:
    """Revisions of these rollouts that no remaining rollout serves from."""
    gone = {history.rollout_name(rollout) for rollout in surplus}
    used = {r.data.revision for r in observation.rollouts if history.rollout_name(r) not in gone}
    return tuple(sorted({r.data.revision for r in surplus} - used))
