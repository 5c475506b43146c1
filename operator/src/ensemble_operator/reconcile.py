"""One pass over one ensemble: look, plan, act, report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ensemble_operator.apply.executor import Executor, Target
from ensemble_operator.apply.failures import LeavingObjectError, ObjectNotOwnedError
from ensemble_operator.apply.report import Reporter
from ensemble_operator.cluster.errors import ApiError, NamespaceTerminatingError
from ensemble_operator.explain import Explanation, explain
from ensemble_operator.metrics.families import Metrics
from ensemble_operator.metrics.jobs import JobCounts
from ensemble_operator.metrics.transitions import Transitions
from ensemble_operator.observe.observer import Look, Observer
from ensemble_operator.observe.routing import Key
from ensemble_operator.plan.actions import (
    Action,
    Apply,
    Create,
    Delete,
    LeaveJob,
    Plan,
    SetFinalizer,
)
from ensemble_operator.plan.observation import Observation
from ensembles_api.names import LABEL_ROLE
from ensembles_api.reasons import Reason

Result = Literal["settled", "changed", "retry", "gone"]

PATIENCE = 3
"""Failed passes in a row before a trouble of the API itself is shown in the status."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a pass ended.

    settled: look again at news, or at `wake`. changed: look again at once. retry: it failed, back off.
    gone: there is no such ensemble.
    """

    result: Result
    wake: datetime | None = None


Planner = Callable[[Observation], Plan]
FailurePlanner = Callable[[Observation, Explanation], Plan]


class Reconciler:
    """Passes over ensembles; one instance for all, usable from several threads for different keys.

    Args:
        plan: decides what to do.
        plan_failure: the status where an action was refused.
    """

    def __init__(
        self,
        *,
        observer: Observer,
        executor: Executor,
        reporter: Reporter,
        plan: Planner,
        plan_failure: FailurePlanner,
        metrics: Metrics,
        job_counts: JobCounts,
    ) -> None:
        self._observer = observer
        self._executor = executor
        self._reporter = reporter
        self._plan = plan
        self._plan_failure = plan_failure
        self._metrics = metrics
        self._job_counts = job_counts
        self._transitions = Transitions(metrics)

    def reconcile(self, key: Key, *, failures: int = 0) -> Outcome:
        """Do what can be done now.

        Args:
            key: the ensemble.
            failures: how many passes have failed in a row before this one.
        """
        started = time.perf_counter()
        try:
            outcome = self._pass(key, failures)
            label: str = outcome.result
        except ApiError as error:
            _log.warning("pass failed", extra={"key": str(key), "error": str(error)})
            outcome, label = Outcome("retry"), "retry"
        except Exception:  # noqa: BLE001 - a fault in what concerns one ensemble must not stop the others
            _log.exception("pass crashed", extra={"key": str(key)})
            outcome, label = Outcome("retry"), "crashed"
        self._metrics.passes.observe(time.perf_counter() - started)
        self._metrics.outcomes.labels(outcome=label).inc()
        return outcome

    def _pass(self, key: Key, failures: int) -> Outcome:
        look = self._observer.observe(key)
        if look is None:
            return self._gone(key)
        plan = self._plan(look.observation)
        if any(map(needs_fresh_look, plan.actions)):
            self._observer.refresh(key)
            look = self._observer.observe(key)
            if look is None:
                return self._gone(key)
            plan = self._plan(look.observation)
        self._job_counts.seen(look.observation)
        target = Target(namespace=key.namespace, name=key.name, uid=look.observation.uid)
        changed = False
        for action in plan.actions:
            try:
                changed |= self._act(action, target, look.observation)
            except (ApiError, ObjectNotOwnedError, LeavingObjectError) as error:  # noqa: PERF203
                return self._failed(key, target, look, action, error, failures=failures)
        self._report(key, target, look.observation, plan)
        wake = min((at for at in (plan.wake, look.again) if at is not None), default=None)
        return Outcome("changed" if changed else "settled", wake)

    def _act(self, action: Action, target: Target, observation: Observation) -> bool:
        changed = self._executor.execute(action, target)
        if changed:
            key = f"{target.namespace}/{target.name}"
            _log.info("action", extra={"key": key, **_described(action)})
            self._transitions.acted(action)
            self._count_job(action, observation)
        return changed

    def _count_job(self, action: Action, observation: Observation) -> None:
        match action:
            case Create(manifest) if manifest["kind"] == "Job":
                role = manifest["metadata"]["labels"].get(LABEL_ROLE, "")
                self._metrics.jobs_created.labels(role=role).inc()
            case Delete("Job", _, uid) | LeaveJob(_, uid):
                for job in observation.jobs:
                    # Another owner's leave lets the Job run on.
                    if job.uid == uid and (isinstance(action, Delete) or len(job.owners) == 1):
                        self._job_counts.cancelled(job, observation.now)

    def _failed(
        self,
        key: Key,
        target: Target,
        look: Look,
        action: Action,
        error: Exception,
        *,
        failures: int,
    ) -> Outcome:
        explanation = explain(error, action)
        level = logging.INFO if explanation is None else logging.WARNING
        extra = {"key": str(key), **_described(action), "error": str(error)}
        _log.log(level, "action failed", extra=extra)
        if isinstance(error, NamespaceTerminatingError):
            self._observer.namespace_is_terminating(key.namespace)
        lasting = explanation is not None and explanation.reason is not Reason.API_UNAVAILABLE
        if explanation is not None and (lasting or failures >= PATIENCE):
            plan = self._plan_failure(look.observation, explanation)
            self._report(key, target, look.observation, plan)
        return Outcome("retry")

    def _report(self, key: Key, target: Target, observation: Observation, plan: Plan) -> None:
        if plan.status is not None:
            self._reporter.write_status(target, plan.status, before=observation.status)
        for event in plan.events:
            self._reporter.post(target, event)
            _log.info(
                "transition",
                extra={"key": str(key), "type": event.type, "reason": event.reason, "text": event.message},
            )
        self._transitions.reported(key, observation, plan)

    def _gone(self, key: Key) -> Outcome:
        self._transitions.forget(key)
        return Outcome("gone")


def needs_fresh_look(action: Action) -> bool:
    """Whether an action cannot be taken back, or costs a GPU: then the cache's word is not enough."""
    match action:
        case Delete() | LeaveJob():
            return True
        case SetFinalizer(present):
            return not present
        case Apply(manifest):
            return bool(manifest["kind"] == "Service")  # what it selects is what clients reach
        case Create(manifest):
            return manifest["kind"] == "Job" and _wants_gpu(manifest)
        case _:
            return False


def _wants_gpu(job: Mapping[str, object]) -> bool:
    pod = job["spec"]["template"]["spec"]  # type: ignore[index]
    if pod.get("resourceClaims"):
        return True
    containers = (*pod["containers"], *(pod.get("initContainers") or ()))
    limits = (container.get("resources", {}).get("limits") or {} for container in containers)
    return any("/" in name for limit in limits for name in limit)


def _described(action: Action) -> dict[str, object]:
    """An action for the log: what is done to which object."""
    what = type(action).__name__
    match action:
        case Create(manifest) | Apply(manifest):
            return {"action": what, "kind": manifest["kind"], "object": manifest["metadata"]["name"]}
        case _:
            named = {"name": "object"}
            return {"action": what, **{named.get(k, k): value for k, value in vars(action).items()}}
