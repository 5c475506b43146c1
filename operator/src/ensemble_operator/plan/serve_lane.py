"""Lane B: what serves? Heal the active rollout, bring up and verify the wanted one beside it, then switch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
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
    service = history.main_service(observation)
    if service is not None and not history.is_ours(service, observation):
        leftover = bool(service.owners) and service.labels.get(LABEL_ENSEMBLE) == observation.name
        outcome = _foreign_service(observation, leftover=leftover)
        # Whoever took the name may give it back: that is no reason to end servers.
        return replace(outcome, kept_rollouts=frozenset(map(history.rollout_name, observation.rollouts)))
    active = history.active_rollout(observation)
    kept, wake = _retained(observation, watching.retain_seconds(spec.rollout) if spec else None)
    kept |= history.selected(observation) | ({active} if active else set())
    ended = yielding.ended if yielding else frozenset()
    unchanged = ServeOutcome(
        active,
        None,
        Reason.PENDING,
        "",
        actions=_heal_as_it_is(observation, config, active, spec, ended),
        kept_rollouts=frozenset(kept if superseded else kept | history.in_progress(observation)),
        wake=_first(wake, yielding.wake if yielding else None),
    )
    if spec is None:
        return unchanged

    def towards(data: RolloutData) -> Stage:
        stage = Stage(
            observation,
            config,
            spec,
            replicas(observation, spec, data),
            active,
            data,
            kept_rollouts=frozenset(kept),
            wake=unchanged.wake,
            give_back=yielding.give_back if yielding else None,
        )
        old = strategies.active_servers(stage)
        return replace(stage, actions=_heal(observation, config, active, old, ended))

    former = watching.back_to(observation, active)
    if former is not None:
        stage = towards(former.data)
        return replace(watching.go_back(stage), progress=progress(stage))
    watched = watching.watch(observation, config, spec.rollout, active)
    # Where what comes next is asked already the way on is shorter: what was before has made room for it.
    onward = wanted is not None and taking_over(observation) == wanted.rollout_hash()
    if watched.failed is not None and not onward:
        return watching.mark(observation, unchanged, watched.failed)
    alone = _shared_by(observation, active) if superseded and not spec.rollout.paused else None
    if wanted is not None:
        outcome = _next_step(towards(wanted))
    elif alone is not None:
        # Builds may take hours, and so may mending: what shared the requests is not wanted any more, and
        # nobody measures it.
        outcome = replace(_next_step(towards(alone)), starved=True)
    else:
        sharing = history.find(observation, _sharing(observation, active) or "")
        told = progress(towards(sharing.data)) if sharing is not None else None
        outcome = replace(unchanged, progress=told)
    actions = (*outcome.actions, *watched.actions, *finish_promotion(observation, outcome))
    return replace(outcome, actions=actions, wake=_first(outcome.wake, watched.wake))


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


def _foreign_service(observation: Observation, *, leftover: bool) -> ServeOutcome:
    if leftover:
        waiting = Trouble(
            Reason.POD_LOST,
            f"Service {observation.name} still belongs to a deleted InferenceEnsemble of this name",
            retry_at=observation.now + timedelta(seconds=2),
        )
        return ServeOutcome(
            None, None, Reason.PENDING, waiting.message, trouble=waiting, wake=waiting.retry_at
        )
    trouble = Trouble(
        Reason.OBJECT_NOT_OWNED,
        f"Service {observation.name} exists and is not this ensemble's; rename one of them or remove it",
        field="metadata.name",
    )
    return ServeOutcome(None, None, Reason.PENDING, trouble.message, trouble=trouble)


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
