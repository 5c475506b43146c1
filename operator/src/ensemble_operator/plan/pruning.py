"""Removing revisions from storage: those over the history limit; on deletion with policy Delete, all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ensemble_operator import names
from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Annotate, Create, Delete
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.jobs import Running, Succeeded, attempt_of, judge
from ensemble_operator.plan.observation import JobSeen, Observation, RolloutSeen
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import JobContext, prune_job
from ensemble_operator.resources.rollout import ANNOTATION_OUTCOME
from ensembles_api.names import LABEL_ROLE
from ensembles_api.spec import InferenceEnsembleSpec


@dataclass(frozen=True)
class PruneOutcome:
    done: bool = False
    trouble: Trouble | None = None
    actions: tuple[Action, ...] = ()
    wake: datetime | None = None


@dataclass(frozen=True)
class _Task:
    context: JobContext
    revisions: tuple[str, ...] | None
    owned: bool

    @property
    def token(self) -> str:
        """Holds the uid: what removed a deleted resource's files says nothing of its successor's."""
        what = "all" if self.revisions is None else sorted(self.revisions)
        return names.digest([self.context.owner.uid, what])

    def create(self, *, attempt: int, first_failure: datetime | None = None) -> Action:
        return Create(
            prune_job(
                context=self.context,
                token=self.token,
                remove=self.revisions,
                attempt=attempt,
                first_failure=first_failure,
                owned=self.owned,
            )
        )


def prune_context(
    observation: Observation, spec: InferenceEnsembleSpec, config: OperatorConfig
) -> JobContext:
    """What pruning needs of a spec; neither its release nor its ConfigMaps need to exist any more."""
    return JobContext(
        owner=owner_of(observation),
        config=config,
        storage=spec.storage,
        build=spec.build,
        serving_pull_secrets=spec.serving.image_pull_secrets,
        builder_image="",
        source_secrets=(),
        config_maps={},
    )


def prune(
    observation: Observation,
    context: JobContext,
    *,
    revisions: tuple[str, ...] | None,
    owned: bool,
) -> PruneOutcome:
    """Run a prune Job for these revisions (None: everything of the ensemble) until it has succeeded.

    owned False leaves the Job without ownerReference, so that it outlives the resource's own deletion.
    """
    task = _Task(context, revisions, owned)
    labelled = [job for job in observation.jobs if job.labels.get(LABEL_ROLE) == "prune"]
    present = [job for job in labelled if not job.deleting]
    jobs = [job for job in present if job.annotations.get(names.ANNOTATION_INPUTS) == task.token]
    others = [job for job in present if job not in jobs]
    busy = next((job for job in others if job.state == "active"), None)
    if busy is not None and revisions is not None:
        return PruneOutcome(wake=observation.now + timedelta(seconds=30))  # what it removes goes on to go
    strangers = tuple(Delete("Job", job.name, job.uid) for job in others)
    newest = max(jobs, key=attempt_of, default=None)
    if newest is None:
        return PruneOutcome(actions=(*strangers, task.create(attempt=1)))
    verdict = judge(newest, now=observation.now)
    if isinstance(verdict, Succeeded):
        return PruneOutcome(done=True, actions=tuple(Delete("Job", job.name, job.uid) for job in jobs))
    if isinstance(verdict, Running):
        return PruneOutcome(trouble=verdict.wait, wake=observation.now + timedelta(seconds=30))
    trouble = verdict.trouble
    if trouble.retry_at is not None and trouble.retry_at <= observation.now:
        again = task.create(attempt=attempt_of(newest) + 1, first_failure=trouble.since)
        return PruneOutcome(trouble=trouble, actions=(Delete("Job", newest.name, newest.uid), again))
    return PruneOutcome(trouble=trouble, wake=trouble.retry_at)


def prune_history(
    observation: Observation,
    spec: InferenceEnsembleSpec,
    config: OperatorConfig,
    surplus: list[RolloutSeen],
) -> PruneOutcome:
    """Remove rollouts that history no longer holds: the record is marked, the files go, the record goes.

    A marked record offers no way back: part of its files may be gone. Assembling its spec again publishes
    them anew, but only once no prune Job runs (see `removal`).
    """
    if not surplus:
        return PruneOutcome(actions=tuple(_ended_jobs(observation)))
    records = tuple(Delete("ControllerRevision", rollout.name, rollout.uid) for rollout in surplus)
    revisions = _unshared(observation, surplus)
    if not revisions:
        return PruneOutcome(actions=records)
    marks = tuple(
        Annotate("ControllerRevision", rollout.name, rollout.uid, {ANNOTATION_OUTCOME: history.PRUNING})
        for rollout in surplus
        if history.outcome(rollout) != history.PRUNING
    )
    outcome = prune(observation, prune_context(observation, spec, config), revisions=revisions, owned=True)
    actions = (*marks, *outcome.actions, *(records if outcome.done else ()))
    return replace(outcome, actions=actions)


def removal(observation: Observation) -> JobSeen | None:
    """The prune Job that is at work: meanwhile nothing may be published."""
    return next(
        (
            job
            for job in observation.jobs
            if job.labels.get(LABEL_ROLE) == "prune" and job.state == "active" and not job.deleting
        ),
        None,
    )


def _ended_jobs(observation: Observation) -> Iterator[Action]:
    for job in observation.jobs:
        if job.labels.get(LABEL_ROLE) == "prune" and job.state != "active" and not job.deleting:
            yield Delete("Job", job.name, job.uid)


def _unshared(observation: Observation, surplus: list[RolloutSeen]) -> tuple[str, ...]:
    """Revisions of these rollouts that no remaining rollout serves from."""
    gone = {history.rollout_name(rollout) for rollout in surplus}
    used = {r.data.revision for r in observation.rollouts if history.rollout_name(r) not in gone}
    return tuple(sorted({r.data.revision for r in surplus} - used))
