"""The wanted rollout serves: finish what its promotion began, and say whether anybody is answered."""

from __future__ import annotations

from dataclasses import replace

from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Create
from ensemble_operator.plan.failing import is_asked_again, what_failed
from ensemble_operator.plan.observation import RolloutSeen
from ensemble_operator.plan.promotion import (
    first_servers_known,
    is_verified,
    mark_promoted,
    mark_verified,
    retire_others,
)
from ensemble_operator.plan.serving_pods import pods_trouble
from ensemble_operator.plan.sharing import taking_over
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.plan.taking_back import take_back
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.plan.verifying import verification
from ensembles_api.reasons import Nature, Reason


def steady(stage: Stage) -> ServeOutcome:
    rollout = history.find(stage.observation, stage.hash)
    failed = _failed_for_good(stage, rollout)
    if failed is not None:
        return replace(_served(stage, rollout, ()), trouble=failed)
    actions: tuple[Action, ...] = tuple(retire_others(stage))
    if rollout is not None and history.outcome(rollout) != history.PROMOTED:
        actions = (*actions, mark_promoted(stage.observation, rollout))
    return _served(stage, rollout, actions)


def _failed_for_good(stage: Stage, rollout: RolloutSeen | None) -> Trouble | None:
    """Where it failed after its promotion, and nothing is left to go back to: what is told, until somebody
    asks for it again.
    """
    if rollout is None or history.outcome(rollout) != history.FAILED or is_asked_again(stage, rollout):
        return None
    failed = what_failed(rollout)
    former = history.replaced_by(stage.observation, rollout)
    too = former is not None and history.outcome(former) == history.FAILED
    why = f"failed, too: {what_failed(former).what()}" if former and too else "is not there any more"
    return replace(failed, message=f"{failed.message}; it serves on, as the former one {why}")


def _served(stage: Stage, rollout: RolloutSeen | None, actions: tuple[Action, ...]) -> ServeOutcome:
    """How clients are served, with these actions."""
    pending = taking_over(stage.observation)
    if pending:
        # The spec came back to what serves while another rollout was taking over.
        back = take_back(replace(stage, actions=(*stage.actions, *actions)), pending)
        return replace(back, verified=is_verified(rollout), starved=True)
    outcome = replace(
        stage.outcome(Reason.READY, f"revision {stage.wanted.revision[:12]} serves", *actions),
        verified=is_verified(rollout),
    )
    if not stage.replicas:
        idle = f"revision {stage.wanted.revision[:12]} is published; spec.serving.replicas is 0"
        return replace(outcome, message=idle)
    if rollout is not None and not outcome.verified:
        outcome = _verify_late(stage, rollout, outcome)
        if outcome.starved:
            return outcome
    settled = first_servers_known(stage)
    if stage.observation.endpoints_ready and settled > stage.observation.now:
        message = "every node learns of the first servers"
        return replace(outcome, step=Reason.PROMOTING, message=message, starved=True, wake=settled)
    if stage.observation.endpoints_ready:
        return _short_of_servers(stage, outcome)
    return replace(
        outcome,
        step=Reason.UNAVAILABLE,
        message="no server is ready",
        trouble=pods_trouble(stage.observation, stage.hash),
        starved=True,
    )


def _short_of_servers(stage: Stage, outcome: ServeOutcome) -> ServeOutcome:
    """Clients are answered; further servers may wait for a GPU, a node, storage: who asked for them is told.

    One that crashes is its Deployment's to start again while others answer: that stalls nothing.
    """
    trouble = pods_trouble(stage.observation, stage.hash)
    if trouble is None or trouble.nature is Nature.USER:
        return outcome
    return replace(outcome, step=Reason.ROLLING_OUT, message="further servers are awaited", trouble=trouble)


def _verify_late(stage: Stage, rollout: RolloutSeen, outcome: ServeOutcome) -> ServeOutcome:
    """What was promoted without servers is asked as soon as it has some."""
    check = verification(stage.observation, stage.config, rollout.data, stage.hash, replicas=stage.replicas)
    if check.succeeded:
        verified = mark_verified(stage.observation, rollout)
        return replace(outcome, actions=(*outcome.actions, verified), verified=True)
    trouble = check.failed or check.wait or pods_trouble(stage.observation, stage.hash)
    return replace(
        outcome,
        actions=(*outcome.actions, *([Create(check.create)] if check.create else [])),
        step=Reason.VERIFYING,
        message="the servers are asked for real inferences",
        trouble=trouble,
        wake=trouble.retry_at if trouble and trouble.retry_at else outcome.wake,
        starved=True,
    )
