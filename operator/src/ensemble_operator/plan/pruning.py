"""Removing revisions from storage: those over the history limit; on deletion with policy Delete, all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ensemble_operator import names
from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Create, Delete
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.jobs import Running, Succeeded, attempt_of, judge
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import JobContext, prune_job
from ensembles_api.names import LABEL_ROLE
from ensembles_api.spec import InferenceEnsembleSpec

ALL = "all"


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
        return names.digest(sorted(self.revisions)) if self.revisions is not None else ALL

    def create(self, *, attempt: int) -> Action:
        return Create(
            prune_job(
                context=self.context,
                token=self.token,
                remove=self.revisions,
                attempt=attempt,
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
    strangers = tuple(Delete("Job", job.name, job.uid) for job in present if job not in jobs)
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
        again = task.create(attempt=attempt_of(newest) + 1)
        return PruneOutcome(trouble=trouble, actions=(Delete("Job", newest.name, newest.uid), again))
    return PruneOutcome(trouble=trouble, wake=trouble.retry_at)


def unshared(observation: Observation, surplus: list[RolloutSeen]) -> tuple[str, ...]:
    """Revisions of these rollouts that no remaining rollout serves from."""
    gone = {history.rollout_name(rollout) for rollout in surplus}
    used = {r.data.revision for r in observation.rollouts if history.rollout_name(r) not in gone}
    return tuple(sorted({r.data.revision for r in surplus} - used))
