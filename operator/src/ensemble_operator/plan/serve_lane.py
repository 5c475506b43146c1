"""Lane B: what serves? Heal the active rollout, bring up and verify the wanted one beside it, then switch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan import history, strategies, watching
from ensemble_operator.plan.actions import Action
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.gpu_busy import Yielding
from ensemble_operator.plan.healing import (
    heal_budgets,
    heal_deployments,
    heal_rollout_service,
    heal_service,
)
from ensemble_operator.plan.observation import Observation
from ensemble_operator.plan.progress import progress
from ensemble_operator.plan.promotion import finish_promotion, left_steps
from ensemble_operator.plan.replicas import Replicas, replicas, servers
from ensemble_operator.plan.routing import live_shares
from ensemble_operator.plan.sharing import taking_over
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.plan.steady import steady
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.names import LABEL_ENSEMBLE
from ensembles_api.reasons import Reason
from ensembles_api.spec import InferenceEnsembleSpec


def serve(
    observation: Observation,
    config: OperatorConfig,
    spec: InferenceEnsembleSpec | None,
    wanted: RolloutData | None,
    *,
    superseded: bool = False,
    yielding: Yielding | None = None,
) -> ServeOutcome:
    """One step of lane B.

    Args:
        observation: what there is.
        config: the operator's images.
        spec: None where it cannot be read.
        wanted: None: only keep alive what serves.
        superseded: nothing is wanted yet, as the spec needs builds first, or is wrong: none of the rollouts
            there, then.
        yielding: without the targets whose GPU is needed for what comes next.
    """
    foreign = _foreign_service(observation)
    if foreign is not None:
        return foreign
    lane = _lane(observation, config, spec, yielding)
    unchanged = lane.unchanged(superseded=superseded)
    if spec is None:
        return unchanged
    former = watching.back_to(observation, lane.active)
    if former is not None:
        stage = lane.towards(spec, former.data)
        return replace(watching.go_back(stage), progress=progress(stage))
    watched = watching.watch(observation, config, spec.rollout, lane.active)
    # Where what comes next is asked already the way on is shorter: what was before has made room for it.
    onward = wanted is not None and taking_over(observation) == wanted.rollout_hash()
    if watched.failed is not None and not onward:
        return watching.mark(observation, unchanged, watched.failed)
    alone = _shared_by(observation, lane.active) if superseded and not spec.rollout.paused else None
    if wanted is not None:
        outcome = _next_step(lane.towards(spec, wanted))
    elif alone is not None:
        # Builds may take hours, and so may mending: what shared the requests is not wanted any more, and
        # nobody measures it.
        outcome = replace(_next_step(lane.towards(spec, alone)), starved=True)
    else:
        sharing = history.find(observation, _sharing(observation, lane.active) or "")
        told = progress(lane.towards(spec, sharing.data)) if sharing is not None else None
        outcome = replace(unchanged, progress=told)
    actions = (*outcome.actions, *watched.actions, *finish_promotion(observation, outcome))
    return replace(outcome, actions=actions, wake=_first(outcome.wake, watched.wake))


@dataclass(frozen=True)
class _Lane:
    """What every way of the lane starts from.

    kept: rollouts that clients may reach, or that are retained. yielding: as for `serve`.
    """

    observation: Observation
    config: OperatorConfig
    spec: InferenceEnsembleSpec | None
    active: str | None
    kept: frozenset[str]
    wake: datetime | None
    yielding: Yielding | None

    @property
    def ended(self) -> frozenset[str]:
        return self.yielding.ended if self.yielding else frozenset()

    def unchanged(self, *, superseded: bool) -> ServeOutcome:
        """What serves is kept alive."""
        kept = self.kept if superseded else self.kept | history.in_progress(self.observation)
        healing = _heal_as_it_is(self.observation, self.config, self.active, self.spec, self.ended)
        return ServeOutcome(
            self.active, None, Reason.PENDING, "", actions=healing, kept_rollouts=kept, wake=self.wake
        )

    def towards(self, spec: InferenceEnsembleSpec, data: RolloutData) -> Stage:
        stage = Stage(
            self.observation,
            self.config,
            spec,
            replicas(self.observation, spec, data),
            self.active,
            data,
            kept_rollouts=self.kept,
            wake=self.wake,
            give_back=self.yielding.give_back if self.yielding else None,
        )
        old = strategies.active_servers(stage)
        return replace(stage, actions=_heal(self.observation, self.config, self.active, old, self.ended))


def _lane(
    observation: Observation,
    config: OperatorConfig,
    spec: InferenceEnsembleSpec | None,
    yielding: Yielding | None,
) -> _Lane:
    active = history.active_rollout(observation)
    retained, wake = _retained(observation, watching.retain_seconds(spec.rollout) if spec else None)
    kept = frozenset(retained | history.selected(observation) | ({active} if active else set()))
    wake = _first(wake, yielding.wake if yielding else None)
    return _Lane(observation, config, spec, active, kept, wake, yielding)


def _sharing(observation: Observation, active: str | None) -> str | None:
    """The rollout that gets requests beside the active one, by the Service or by routes."""
    others = (rollout for rollout in live_shares(observation).weights if rollout != active)
    return taking_over(observation) or next(others, None)


def _shared_by(observation: Observation, active: str | None) -> RolloutData | None:
    """The active rollout, where another one gets requests beside it. Where its servers have all ended the
    other one answers alone: it does so until the next.
    """
    shared = taking_over(observation) or live_shares(observation).weights
    if active is None or not shared or not any(servers(observation, active).values()):
        return None
    seen = history.find(observation, active)
    return seen.data if seen else None


def _next_step(stage: Stage) -> ServeOutcome:
    stage = replace(stage, actions=(*stage.actions, *left_steps(stage)))
    if stage.hash == stage.active:
        return steady(stage)
    if strategies.is_paused(stage):
        sharing = _heal_sharing(stage.observation, stage.config)
        stage = replace(stage, actions=(*stage.actions, *sharing))
    outcome = strategies.advance(stage)
    return outcome if outcome.active == stage.hash else replace(outcome, progress=progress(stage))


def _first(*times: datetime | None) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def _foreign_service(observation: Observation) -> ServeOutcome | None:
    """Where the Service's name is taken by somebody else's."""
    service = history.main_service(observation)
    if service is None or history.is_ours(service, observation):
        return None
    if service.owners and service.labels.get(LABEL_ENSEMBLE) == observation.name:
        trouble = Trouble(
            Reason.POD_LOST,
            f"Service {observation.name} still belongs to a deleted InferenceEnsemble of this name",
            retry_at=observation.now + timedelta(seconds=2),
        )
    else:
        trouble = Trouble(
            Reason.OBJECT_NOT_OWNED,
            f"Service {observation.name} exists and is not this ensemble's; rename one of them or remove it",
            field="metadata.name",
        )
    return ServeOutcome(
        None,
        None,
        Reason.PENDING,
        trouble.message,
        trouble=trouble,
        # Whoever took the name may give it back: that is no reason to end servers.
        kept_rollouts=frozenset(map(history.rollout_name, observation.rollouts)),
        wake=trouble.retry_at,
    )


def _retained(observation: Observation, retain_seconds: int | None) -> tuple[set[str], datetime | None]:
    """Replaced rollouts that still run, and when the first of them may go. An unreadable spec keeps all."""
    kept: set[str] = set()
    ends: list[datetime] = []
    for rollout in observation.rollouts:
        outcome = history.outcome(rollout)
        until = history.retained_until(rollout, retain_seconds or 0)
        if outcome == history.PROMOTED or (outcome == history.SUPERSEDED and retain_seconds is None):
            kept.add(history.rollout_name(rollout))
        elif outcome == history.SUPERSEDED and until is not None and until > observation.now:
            kept.add(history.rollout_name(rollout))
            ends.append(until)
    return kept, min(ends, default=None)


def _heal_as_it_is(
    observation: Observation,
    config: OperatorConfig,
    active: str | None,
    spec: InferenceEnsembleSpec | None,
    ended: frozenset[str],
) -> tuple[Action, ...]:
    """While nobody knows what comes next. Where two rollouts share the requests their numbers stay."""
    old = history.find(observation, active) if active else None
    whole = replicas(observation, spec, old.data) if spec and old and not taking_over(observation) else None
    return (*_heal(observation, config, active, whole, ended), *_heal_sharing(observation, config))


def _heal(
    observation: Observation,
    config: OperatorConfig,
    active: str | None,
    servers: Replicas | None,
    ended: frozenset[str],
) -> tuple[Action, ...]:
    rollout = history.find(observation, active) if active else None
    if rollout is None or active is None:
        return ()
    owner = owner_of(observation)
    return (
        *heal_deployments(observation, config, owner, rollout.data, replicas=servers, ended=ended),
        *heal_budgets(observation, owner, rollout.data, replicas=servers),
        *heal_service(observation, owner, rollout.data, active=active),
        *heal_rollout_service(observation, owner, active),
    )


def _heal_sharing(observation: Observation, config: OperatorConfig) -> Iterator[Action]:
    """Servers that get requests beside the active ones, where nothing else looks after them."""
    pending = taking_over(observation)
    rollout = history.find(observation, pending) if pending else None
    if rollout is not None and pending is not None:
        owner = owner_of(observation)
        yield from heal_deployments(observation, config, owner, rollout.data, replicas=None)
        yield from heal_rollout_service(observation, owner, pending)
