"""What changed about an ensemble between two passes: time spent in steps, failures, rollouts that ended."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ensemble_operator.metrics.families import Metrics
from ensemble_operator.plan.actions import Action, Annotate, Plan
from ensemble_operator.plan.history import PRUNING, SUPERSEDED, moment
from ensemble_operator.plan.observation import Observation
from ensemble_operator.resources.rollout import ANNOTATION_OUTCOME, ANNOTATION_PROMOTED_AT
from ensembles_api.reasons import REASONS, Condition, Nature, Reason

_LASTING = frozenset({Reason.READY.value, Reason.SUSPENDED.value, Reason.PAUSED.value, ""})
"""No steps: an ensemble may stand there for months."""
_BOOKKEEPING = frozenset({SUPERSEDED, PRUNING, ""})
"""Outcomes that an ended rollout gets later."""


@dataclass(frozen=True)
class _Stand:
    """How an ensemble stood after the last pass of this process.

    since, changed: when the reason and the generation came; None where this process did not see them come.
    """

    reason: str
    since: datetime | None
    generation: int
    changed: datetime | None


class Transitions:
    """Tells transitions from states, by what this process saw last and, before that, by the status.

    Usable from several threads for different keys.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._stands: dict[Hashable, _Stand] = {}

    def acted(self, action: Action) -> None:
        """An action that changed the cluster: a rollout's outcome is written once."""
        if isinstance(action, Annotate) and action.kind == "ControllerRevision":
            outcome = action.annotations.get(ANNOTATION_OUTCOME, "")
            if outcome not in _BOOKKEEPING:
                self._metrics.rollouts.labels(outcome=outcome).inc()

    def reported(self, key: Hashable, observation: Observation, plan: Plan) -> None:
        """The plan's status is written; `observation` holds the one before."""
        reason = plan.labels.get("reason", "")
        with self._lock:
            known = self._stands.get(key)
            before = known or _first_stand(observation)
            self._stands[key] = stand = _after(before, observation, reason)
        if stand.reason != before.reason:
            self._left(before, observation.now)
            self._count_failure(reason)
        self._count_ready(stand, observation, plan)

    def forget(self, key: Hashable) -> None:
        """The ensemble is gone."""
        with self._lock:
            self._stands.pop(key, None)

    def _left(self, before: _Stand, now: datetime) -> None:
        if before.since is not None and before.reason not in _LASTING:
            self._metrics.steps.labels(step=before.reason).observe((now - before.since).total_seconds())

    def _count_failure(self, reason: str) -> None:
        info = REASONS.get(Reason(reason)) if reason in set(Reason) else None
        if info is not None and info.nature is not Nature.PROGRESS:
            self._metrics.failures.labels(reason=reason).inc()

    def _count_ready(self, stand: _Stand, observation: Observation, plan: Plan) -> None:
        before = _ready(observation.status)
        after = _ready(plan.status or {})
        if before.get("status") != "False" or after.get("status") != "True":
            return
        since = max(filter(None, (moment(before.get("lastTransitionTime")), stand.changed)), default=None)
        promoted = _promoted_at(observation, (plan.status or {}).get("rollout", ""))
        # Servers that came back are no rollout: then the promotion is older.
        if since is not None and promoted is not None and promoted >= since:
            self._metrics.ready.observe((observation.now - since).total_seconds())


def _first_stand(observation: Observation) -> _Stand:
    """As the status has it: what another process told is not told again."""
    new = not observation.status
    return _Stand(
        reason=_ready(observation.status).get("reason", ""),
        since=None,
        generation=observation.status.get("observedGeneration", -1),
        changed=observation.now if new else None,
    )


def _after(before: _Stand, observation: Observation, reason: str) -> _Stand:
    stand = before
    if reason != before.reason:
        stand = replace(stand, reason=reason, since=observation.now)
    if observation.generation != before.generation:
        stand = replace(stand, generation=observation.generation, changed=observation.now)
    return stand


def _ready(status: Mapping[str, Any]) -> Mapping[str, str]:
    conditions = status.get("conditions") or ()
    return next((c for c in conditions if c.get("type") == Condition.READY.value), {})


def _promoted_at(observation: Observation, rollout: str) -> datetime | None:
    for seen in observation.rollouts:
        if seen.name.rpartition("-")[2] == rollout:
            return moment(seen.annotations.get(ANNOTATION_PROMOTED_AT))
    return None
