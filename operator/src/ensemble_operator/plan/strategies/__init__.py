"""How new servers replace the old: a pure function for each strategy, from what is seen to the next step.

Failing, being taken back, pausing and handing a GPU back are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ensemble_operator.plan import history, taking_back
from ensemble_operator.plan.failing import failed_before, give_back, what_failed
from ensemble_operator.plan.replicas import Replicas, servers
from ensemble_operator.plan.serving_pods import ready_everywhere
from ensemble_operator.plan.sharing import taking_over
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.plan.strategies import blue_green, canary, recreate, rolling_update
from ensemble_operator.resources.rollout import ANNOTATION_RETIRED_AT
from ensembles_api.reasons import Reason
from ensembles_api.spec.rollout import Strategy

STRATEGIES: Mapping[Strategy, Callable[[Stage], ServeOutcome]] = {
    Strategy.BLUE_GREEN: blue_green.advance,
    Strategy.CANARY: canary.advance,
    Strategy.ROLLING_UPDATE: rolling_update.advance,
    Strategy.RECREATE: recreate.advance,
}


def advance(stage: Stage) -> ServeOutcome:
    """The next step of the wanted rollout, which does not serve yet, towards serving alone."""
    observation, rollout, pending = stage.observation, stage.rollout, taking_over(stage.observation)
    if pending and stage.active and _goes_back(stage, pending):
        back = taking_back.take_back(stage, pending)
        return replace(back, trouble=what_failed(rollout)) if rollout and pending == stage.hash else back
    if rollout is not None and _is_over(stage):
        failed = failed_before(stage, rollout)
        return replace(failed, wake=history.given_back_until(rollout, observation.now) or failed.wake)
    if is_paused(stage):
        held = replace(stage, weights=canary.held_weights(stage))
        return held.outcome(Reason.PAUSED, "spec.rollout.paused is true")
    if rollout is not None and stage.give_back is not None:
        return give_back(stage, rollout, stage.give_back)
    return STRATEGIES[strategy(stage)](stage)


def active_servers(stage: Stage) -> Replicas | None:
    """How many servers the active rollout shall have while another one comes; None: as they are."""
    old = history.find(stage.observation, stage.active) if stage.active else None
    if old is None:
        return None
    whole, pending = stage.whole(old.data), taking_over(stage.observation)
    if pending and _goes_back(stage, pending):
        return taking_back.active_servers(stage, pending, whole)
    paced = strategy(stage) in {Strategy.ROLLING_UPDATE, Strategy.RECREATE} and bool(stage.replicas)
    if stage.hash == stage.active or not paced or _is_over(stage) or stage.give_back is not None:
        return whole
    if is_paused(stage):
        return None if stage.rollout is not None or pending else whole
    if strategy(stage) is Strategy.RECREATE:
        if stage.rollout is None:
            return whole  # first the record, which keeps their number where an autoscaler had it
        return replace(whole, by_target=dict.fromkeys(whole.by_target, 0))
    return rolling_update.active_servers(stage, whole)


def strategy(stage: Stage) -> Strategy:
    """The strategy in effect.

    A rolling update whose first step takes every old server away is Recreate. What served before needs no
    canary, and where its servers still run only the Service moves.
    """
    chosen, limits, rollout = stage.settings.strategy, stage.settings.rolling_update, stage.rollout
    most = max(stage.replicas.by_target.values(), default=0)
    if chosen is Strategy.ROLLING_UPDATE and not limits.max_surge and limits.max_unavailable >= most:
        chosen = Strategy.RECREATE
    if rollout is None or ANNOTATION_RETIRED_AT not in rollout.annotations:
        return chosen
    there = ready_everywhere(stage.observation, stage.hash, stage.replicas)
    only_switch = there and taking_over(stage.observation) != stage.hash
    return Strategy.BLUE_GREEN if only_switch or chosen is Strategy.CANARY else chosen


def is_paused(stage: Stage) -> bool:
    """Whether the rollout stays as it is. Where the old servers have failed, or have ended and no others
    answer, the new ones must come.
    """
    if not history.is_held(stage.settings, stage.rollout):
        return False
    old = history.find(stage.observation, stage.active) if stage.active else None
    if old is None or not stage.replicas:
        return True
    if history.outcome(old) == history.FAILED:
        return False
    # While the Service selects every server of the ensemble none may come that nobody has verified.
    others = taking_over(stage.observation) not in {None, stage.hash}
    return others or any(servers(stage.observation, history.rollout_name(old)).values())


def _is_over(stage: Stage) -> bool:
    """Whether the wanted rollout failed, or handed its GPU back for a while."""
    rollout = stage.rollout
    if rollout is None:
        return False
    given_back = history.given_back_until(rollout, stage.observation.now)
    return history.outcome(rollout) == history.FAILED or given_back is not None


def _goes_back(stage: Stage, pending: str) -> bool:
    """Whether the rollout that shares the requests shall have none."""
    if is_paused(stage) and stage.hash not in {stage.active, pending}:
        return False
    return pending != stage.hash or _is_over(stage)
