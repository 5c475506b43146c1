"""The rollout that is being brought up, and what lane B reports of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.plan.replicas import Replicas, replicas
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.reasons import Reason
from ensembles_api.spec import InferenceEnsembleSpec
from ensembles_api.spec.rollout import Rollout
from ensembles_api.status import RolloutProgress

Weights = Mapping[str, int]
"""Hash of a rollout -> percent of the requests that come through a Gateway."""
MAIN: Weights = MappingProxyType({})
"""All of them go to the ensemble's Service."""


@dataclass(frozen=True)
class ServeOutcome:
    """Where lane B stands.

    active: hash of the rollout clients reach when the actions are done; None where nothing serves yet.
    wanted: hash of the rollout that should serve.
    """

    active: str | None
    wanted: str | None
    step: Reason
    message: str
    verified: bool = False
    trouble: Trouble | None = None
    actions: tuple[Action, ...] = ()
    kept_rollouts: frozenset[str] = frozenset()
    """Hashes whose Deployments, Services and Jobs are not litter."""
    kept_jobs: frozenset[str] = frozenset()
    wake: datetime | None = None
    starved: bool = False
    """The wanted rollout is in place, but the Service has no ready server, none that was verified, or another
    rollout's beside it.
    """
    progress: RolloutProgress | None = None

    weights: Weights | None = field(default_factory=lambda: MAIN)
    """Where spec.gateway's routes lead; None: as they do."""

    @property
    def done(self) -> bool:
        in_place = self.wanted is not None and self.active == self.wanted
        return in_place and self.trouble is None and not self.starved


@dataclass(frozen=True)
class Stage:
    """A ServeOutcome in the making for one wanted rollout."""

    observation: Observation
    config: OperatorConfig
    spec: InferenceEnsembleSpec
    replicas: Replicas
    """Servers of the wanted rollout, once it serves alone."""
    active: str | None
    wanted: RolloutData
    actions: tuple[Action, ...] = ()
    kept_rollouts: frozenset[str] = field(default_factory=frozenset)
    wake: datetime | None = None
    give_back: Trouble | None = None
    """Why its servers must hand back the GPU that they were given."""
    weights: Weights | None = field(default_factory=lambda: MAIN)
    """Of the outcome to be."""

    @property
    def settings(self) -> Rollout:
        return self.spec.rollout

    def whole(self, data: RolloutData) -> Replicas:
        """Servers of another rollout, where it serves alone."""
        return replicas(self.observation, self.spec, data)

    @property
    def hash(self) -> str:
        return self.wanted.rollout_hash()

    @property
    def rollout(self) -> RolloutSeen | None:
        """The record of the wanted rollout, once there is one."""
        return history.find(self.observation, self.hash)

    @property
    def next_number(self) -> int:
        return max((rollout.number for rollout in self.observation.rollouts), default=0) + 1

    def outcome(
        self,
        step: Reason,
        message: str,
        *actions: Action,
        trouble: Trouble | None = None,
        wake: datetime | None = None,
    ) -> ServeOutcome:
        retry = trouble.retry_at if trouble else None
        now = self.observation.now
        times = [moment for moment in (self.wake, wake, retry) if moment is not None and moment > now]
        return ServeOutcome(
            active=self.active,
            wanted=self.hash,
            step=step,
            message=message,
            trouble=trouble,
            actions=(*self.actions, *actions),
            kept_rollouts=self.kept_rollouts | {self.hash},
            wake=min(times, default=None),
            weights=self.weights,
        )
