"""Lane C: what no other lane names goes. Deleting a Job cancels its build, so obsolete GPU work ends here."""

from __future__ import annotations

from collections.abc import Iterator

from ensemble_operator import names
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Delete, LeaveJob
from ensemble_operator.plan.chain import BuildOutcome
from ensemble_operator.plan.jobs import attempt_of
from ensemble_operator.plan.observation import JobSeen, ObjectSeen, Observation, RolloutSeen
from ensemble_operator.plan.stage import ServeOutcome
from ensembles_api.names import LABEL_ROLE, LABEL_ROLLOUT
from ensembles_api.spec import InferenceEnsembleSpec


def litter(
    observation: Observation,
    *,
    inputs: str | None,
    building: BuildOutcome | None,
    serving: ServeOutcome,
) -> tuple[Action, ...]:
    """Deletions for this pass. `building` None (the spec cannot be read): Jobs stay as they are."""
    kept = serving.kept_rollouts
    actions: list[Action] = []
    actions += [
        Delete("Deployment", deployment.name, deployment.uid)
        for deployment in observation.deployments
        if deployment.labels.get(LABEL_ROLLOUT) not in kept and not deployment.deleting
    ]
    actions += _unnamed("PodDisruptionBudget", observation.budgets, observation, kept)
    services = tuple(s for s in observation.services if s.name != observation.name)
    actions += _unnamed("Service", services, observation, kept)
    if building is not None:
        actions += _jobs(observation, building, serving)
        wanted = names.request(observation.name, inputs) if inputs else ""
        for request in observation.requests:
            if request.name != wanted and history.is_ours(request, observation) and not request.deleting:
                actions.append(Delete("ConfigMap", request.name, request.uid))
    return tuple(actions)


def _unnamed(
    kind: str, objects: tuple[ObjectSeen, ...], observation: Observation, kept: frozenset[str]
) -> Iterator[Action]:
    for seen in objects:
        ours = history.is_ours(seen, observation)
        if ours and not seen.deleting and seen.labels.get(LABEL_ROLLOUT) not in kept:
            yield Delete(kind, seen.name, seen.uid)


def _jobs(observation: Observation, building: BuildOutcome, serving: ServeOutcome) -> Iterator[Action]:
    finished = serving.done  # the chain's Jobs keep their logs until what they built serves
    for job in observation.jobs:
        if job.deleting:
            continue
        role = job.labels.get(LABEL_ROLE)
        outdone = _is_outdone(job, observation)
        if role in {"verify", "analyse"}:
            if outdone or job.labels.get(LABEL_ROLLOUT) not in serving.kept_rollouts:
                yield Delete("Job", job.name, job.uid)
        elif role == "build":
            if observation.uid in job.owners and (finished or outdone or not _of_chain(job, building)):
                yield LeaveJob(job.name, job.uid)
        elif role == "assemble" and (finished or job.name not in building.kept_jobs):
            yield Delete("Job", job.name, job.uid)


def _is_outdone(job: JobSeen, observation: Observation) -> bool:
    """Whether a later attempt at the same is there. A pod that hangs would hold its GPU till its deadline."""
    return any(
        _work_of(other) == _work_of(job) and attempt_of(other) > attempt_of(job)
        for other in observation.jobs
        if not other.deleting
    )


def _work_of(job: JobSeen) -> tuple[str | None, ...]:
    labels, notes = job.labels, job.annotations
    of_build = (
        labels.get(names.LABEL_STORAGE),
        notes.get(names.ANNOTATION_KEY),
        notes.get(names.ANNOTATION_PROOF),
        notes.get(names.ANNOTATION_STEP),
    )
    return (labels.get(LABEL_ROLE), labels.get(LABEL_ROLLOUT), *of_build)


def _of_chain(job: JobSeen, building: BuildOutcome) -> bool:
    """With a revision wanted the chain's builds are only logs, and one that still runs is obsolete; before,
    those it names are work.

    While the assembler has not said what a changed spec needs, a build of the former one may be among it.
    """
    if building.wanted is not None:
        return job.state != "active"
    return not building.decided or job.name in building.kept_jobs


def beyond_history(
    observation: Observation, spec: InferenceEnsembleSpec, serving: ServeOutcome
) -> list[RolloutSeen]:
    """The oldest rollouts over revisionHistoryLimit; never one that serves, is wanted or has servers."""
    if not serving.done:
        return []
    named = serving.kept_rollouts | {serving.active, serving.wanted}
    others = sorted(
        (r for r in observation.rollouts if history.rollout_name(r) not in named), key=lambda r: r.number
    )
    surplus = len(observation.rollouts) - spec.revision_history_limit
    return others[:surplus] if surplus > 0 else []
