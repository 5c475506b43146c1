"""Back to the servers from before: those that were taking over failed, or are not wanted any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Scale
from ensemble_operator.plan.healing import deployments_of
from ensemble_operator.plan.observation import DeploymentSeen
from ensemble_operator.plan.pacing import Pace
from ensemble_operator.plan.promotion import select, without_step
from ensemble_operator.plan.replicas import Replicas, servers
from ensemble_operator.plan.serving_pods import awaited, pods_trouble
from ensemble_operator.plan.sharing import known_servers, standing
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensembles_api.names import LABEL_TARGET
from ensembles_api.reasons import Nature, Reason
from ensembles_api.spec.rollout import Strategy

LOOK_AGAIN = timedelta(seconds=30)
"""A server that never gets ready is given up some time, and nothing tells of that moment."""


def take_back(stage: Stage, pending: str) -> ServeOutcome:
    """The next step towards the active rollout being asked alone. `pending` shares its requests.

    Where a rolling update has taken servers of the active one away they come back first, as many as go at a
    time.
    """
    assert stage.active is not None  # noqa: S101 - it shares with `pending`
    observation = stage.observation
    seen = history.find(observation, pending)
    noted = [without_step(observation, seen)] if seen and standing(seen) else []
    old = history.find(observation, stage.active)
    whole = stage.whole(old.data) if old else stage.replicas
    message = "the requests go back to the former servers"
    if _is_enough(stage, whole):
        return stage.outcome(Reason.TAKING_BACK, message, *noted, select(stage, stage.active))
    known = known_servers(observation, stage.active)
    trouble = pods_trouble(observation, stage.active)
    return stage.outcome(
        Reason.TAKING_BACK,
        f"{message}, once these are back{awaited(observation, stage.active)}",
        *noted,
        *_make_room(stage, pending, whole),
        # Who crashes is started again, or given up in time: that stalls nothing.
        trouble=trouble if trouble and trouble.nature is not Nature.USER else None,
        wake=known.wake or observation.now + LOOK_AGAIN,
    )


def active_servers(stage: Stage, pending: str, whole: Replicas) -> Replicas:
    """How many servers the active rollout shall have again just now, of the `whole` number."""
    assert stage.active is not None  # noqa: S101 - it shares with `pending`
    if stage.settings.strategy is not Strategy.ROLLING_UPDATE:
        return whole
    live, leaving = servers(stage.observation, stage.active), servers(stage.observation, pending)
    limits = stage.settings.rolling_update
    counts = {
        target: Pace.of(limits, count).incoming(present=live.get(target, 0), leaving=leaving.get(target, 0))
        for target, count in whole.by_target.items()
    }
    return replace(whole, by_target=counts)


def _make_room(stage: Stage, pending: str, whole: Replicas) -> Iterator[Action]:
    assert stage.active is not None  # noqa: S101 - it shares with `pending`
    known = known_servers(stage.observation, stage.active)
    for deployment in deployments_of(stage.observation, pending):
        target = deployment.labels.get(LABEL_TARGET, "")
        count = whole.by_target.get(target, 0)
        pace = replace(Pace.of(stage.settings.rolling_update, count), unavailable=_spare(stage, count))
        left = pace.leaving(present=deployment.replicas, known=known.of(target))
        if left < deployment.replicas:
            yield Scale(deployment.name, left)


def _spare(stage: Stage, wanted: int) -> int:
    """So many servers less do for a moment: nobody waits for the last of several."""
    return max(stage.settings.rolling_update.max_unavailable, 1 if wanted > 1 else 0)


def _is_enough(stage: Stage, whole: Replicas) -> bool:
    """Whether the active servers that every node knows do. One that has had its time to start is given up."""
    assert stage.active is not None  # noqa: S101 - it shares with another
    known = known_servers(stage.observation, stage.active)
    seen = {d.labels.get(LABEL_TARGET, ""): d for d in deployments_of(stage.observation, stage.active)}
    return all(
        known.of(target)
        >= min(max(1, count - _spare(stage, count)), _possible(stage, seen.get(target), count))
        for target, count in whole.by_target.items()
        if count
    )


def _possible(stage: Stage, deployment: DeploymentSeen | None, whole: int) -> int:
    """Of `whole` servers those that are ready or may still come to be."""
    patience = timedelta(seconds=stage.wanted.serving.startup_seconds)
    pods = deployment.pods if deployment else ()
    late = [
        pod
        for pod in pods
        if not (pod.ready or pod.deleting or pod.ended)  # nobody waits for those, others take their place
        and pod.created
        and pod.created + patience < stage.observation.now
    ]
    return max(0, whole - len(late))
