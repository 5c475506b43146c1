"""How new servers replace the old: a pure function for each strategy, from what is seen to the next step.

Failing, being taken back and handing a GPU back are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ensemble_operator.plan import history
from ensemble_operator.plan.failing import failed_before, give_back
from ensemble_operator.plan.promotion import select, taking_over
from ensemble_operator.plan.serving_pods import ready_everywhere
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.plan.strategies import blue_green
from ensemble_operator.resources.rollout import ANNOTATION_RETIRED_AT
from ensembles_api.reasons import Reason
from ensembles_api.spec.rollout import Strategy

STRATEGIES: Mapping[Strategy, Callable[[Stage], ServeOutcome]] = {
    Strategy.BLUE_GREEN: blue_green.advance,
    Strategy.CANARY: blue_green.advance,
    Strategy.ROLLING_UPDATE: blue_green.advance,
    Strategy.RECREATE: blue_green.advance,
}


def advance(stage: Stage) -> ServeOutcome:
    """The next step of the wanted rollout, which does not serve yet, towards serving alone."""
    observation, rollout = stage.observation, stage.rollout
    pending = taking_over(observation)
    if pending and pending != stage.hash and stage.active:
        # The one that was taking over is not wanted any more: back to the active one, then go on.
        return stage.outcome(Reason.PROMOTING, "the switch is taken back", select(stage, stage.active))
    if rollout is not None and history.outcome(rollout) == history.FAILED:
        return failed_before(stage, rollout)
    given_back = history.given_back_until(rollout, observation.now)
    if rollout is not None and given_back is not None:
        return replace(failed_before(stage, rollout), wake=given_back)
    if rollout is not None and stage.give_back is not None:
        return give_back(stage, rollout, stage.give_back)
    return STRATEGIES[_strategy(stage)](stage)


def _strategy(stage: Stage) -> Strategy:
    """What served before needs no canary; where its servers still run only the Service moves."""
    chosen, rollout = stage.settings.strategy, stage.rollout
    if rollout is None or ANNOTATION_RETIRED_AT not in rollout.annotations:
        return chosen
    there = ready_everywhere(stage.observation, stage.hash, stage.replicas)
    return Strategy.BLUE_GREEN if there or chosen is Strategy.CANARY else chosen
