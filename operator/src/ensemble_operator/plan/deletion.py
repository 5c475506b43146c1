"""Lane 0: a resource being deleted. Nothing is put back; with policy Delete its revisions are removed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan import conditions, history
from ensemble_operator.plan.actions import Action, Delete, Event, LeaveJob, Plan, SetFinalizer
from ensemble_operator.plan.conditions import Summary
from ensemble_operator.plan.observation import Observation
from ensemble_operator.plan.pruning import prune, prune_context
from ensemble_operator.plan.trouble import Trouble
from ensembles_api.names import ANNOTATION_ABANDON_STORAGE, FINALIZER, LABEL_ROLE
from ensembles_api.reasons import Reason
from ensembles_api.spec import DeletionPolicy

PATIENCE = timedelta(minutes=10)
"""So long pruning may fail before the resource is let go without it. It counts from the first failure that an
operator saw and wrote down: time in which none ran is nobody's refusal."""

WAY_OUT = (
    f"mend it; otherwise the resource is let go {PATIENCE.seconds // 60} minutes after the first failure, or "
    f"at once with the annotation {ANNOTATION_ABANDON_STORAGE}=true, and its revisions stay in storage"
)


def delete(observation: Observation, config: OperatorConfig) -> Plan:
    """One step of deletion. Without our finalizer the garbage collector does it all."""
    if FINALIZER not in observation.finalizers:
        return Plan(actions=tuple(_children(observation)))
    children = _children(observation)
    if observation.deployments:
        wake = observation.now + timedelta(seconds=5)
        return leaving(observation, None, actions=tuple(children), wake=wake)
    skipped = _why_skipped(observation)
    if skipped:
        event = Event("Warning", "PruneSkipped", f"revisions stay in storage: {skipped}")
        return Plan(
            actions=(*children, *_prune_jobs(observation), SetFinalizer(present=False)), events=(event,)
        )
    assert observation.spec is not None  # noqa: S101 - otherwise skipped
    context = prune_context(observation, observation.spec, config)
    outcome = prune(observation, context, revisions=None, owned=False)
    actions = (*children, *outcome.actions)
    if outcome.done:
        return Plan(actions=(*actions, SetFinalizer(present=False)))
    wake = outcome.wake or observation.now + timedelta(seconds=30)
    return leaving(observation, outcome.trouble, actions=actions, wake=wake)


def leaving(
    observation: Observation,
    trouble: Trouble | None,
    *,
    actions: tuple[Action, ...] = (),
    wake: datetime | None = None,
) -> Plan:
    """The plan of a pass after which the resource is still there: its status says what holds it."""
    since = _failing_since(observation) or (observation.now if trouble else None)
    trouble = replace(trouble, message=f"{trouble.message}; {WAY_OUT}") if trouble else None
    stalled = trouble is not None and trouble.stalled(observation.now)
    summary = Summary(
        trouble.reason if trouble else Reason.DELETING,
        trouble.text() if trouble else "its servers end, then its revisions are removed from storage",
        ready=False,
        trouble=trouble,
    )
    document = conditions.status(observation, summary, stalled=stalled, since=since)
    return Plan(
        actions=actions,
        status={**document, "stage": Reason.DELETING.value},
        events=conditions.events(observation, summary) if trouble else (),
        wake=min(wake, since + PATIENCE + timedelta(seconds=1)) if wake and since else wake,
        labels={"stage": Reason.DELETING.value, "reason": summary.reason.value},
    )


def _failing_since(observation: Observation) -> datetime | None:
    """When pruning was first seen to fail; what failed before the deletion does not count."""
    if observation.status.get("stage") != Reason.DELETING.value:
        return None
    return history.moment(observation.status.get("failingSince"))


def _why_skipped(observation: Observation) -> str:
    if observation.spec is None:
        return "the spec cannot be read"
    if observation.spec.deletion_policy is not DeletionPolicy.DELETE:
        return "deletionPolicy is Retain"
    if observation.namespace_terminating:
        return "the namespace is being deleted, no Job can run in it"
    if ANNOTATION_ABANDON_STORAGE in observation.annotations:
        return f"annotation {ANNOTATION_ABANDON_STORAGE} is set"
    since = _failing_since(observation)
    if since is not None and observation.now - since > PATIENCE:
        return f"pruning did not succeed within {PATIENCE.seconds // 60} minutes"
    return ""


def _prune_jobs(observation: Observation) -> list[Action]:
    return [
        Delete("Job", job.name, job.uid)
        for job in observation.jobs
        if job.labels.get(LABEL_ROLE) == "prune" and not job.deleting
    ]


def _children(observation: Observation) -> list[Action]:
    actions: list[Action] = [
        Delete("Deployment", d.name, d.uid) for d in observation.deployments if not d.deleting
    ]
    for job in observation.jobs:
        role = job.labels.get(LABEL_ROLE)
        if role == "build" and observation.uid in job.owners:
            actions.append(LeaveJob(job.name, job.uid))
        elif role in {"assemble", "verify", "analyse"} and not job.deleting:
            actions.append(Delete("Job", job.name, job.uid))
    actions += [
        Delete(str(scaler.manifest["kind"]), scaler.name, scaler.uid)
        for scaler in observation.autoscalers
        if history.is_ours(scaler, observation) and not scaler.deleting
    ]
    actions += [
        Delete("Service", s.name, s.uid)
        for s in observation.services
        if history.is_ours(s, observation) and not s.deleting
    ]
    return actions
