"""Two rollouts that serve at once: which share each has, and how many servers every node routes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ensemble_operator import names
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Apply, Delete
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.healing import deployments_of, overlap_manifest
from ensemble_operator.plan.leaving import named
from ensemble_operator.plan.observation import DeploymentSeen, Observation, PodSeen, RolloutSeen
from ensemble_operator.plan.replicas import Replicas
from ensemble_operator.plan.routing import still_asked
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.resources.rollout import ANNOTATION_STEP, ANNOTATION_STEP_SINCE
from ensembles_api.names import LABEL_ROLLOUT, LABEL_TARGET
from ensembles_api.reasons import Reason

OTHERS_END = "older servers end before the switch"
OVERLAP = timedelta(seconds=3)
"""How long the Service selects both: every kube-proxy must know the new pods before the old ones leave."""


@dataclass(frozen=True)
class Known:
    """Servers of a rollout, by target, that have been ready for so long that every node routes to them."""

    by_target: Mapping[str, int]
    wake: datetime | None
    """When the next one will be."""

    def of(self, target: str) -> int:
        return self.by_target.get(target, 0)

    def are(self, wanted: Replicas) -> bool:
        return all(self.of(target) >= count for target, count in wanted.by_target.items())


def known_servers(observation: Observation, rollout: str) -> Known:
    """Of a rollout that gets requests. A server counts from when it was ready and its rollout got any."""
    shared = overlap_since(observation) if taking_over(observation) == rollout else None
    known: dict[str, int] = {}
    later: list[datetime] = []
    for deployment in deployments_of(observation, rollout):
        since = [pod.ready_since for pod in deployment.pods if pod.ready_since and not pod.deleting]
        due = [max(moment, shared or moment) + OVERLAP for moment in since]
        known[deployment.labels.get(LABEL_TARGET, "")] = sum(moment <= observation.now for moment in due)
        later += [moment for moment in due if moment > observation.now]
    return Known(known, min(later, default=None))


def taking_over(observation: Observation) -> str | None:
    """The rollout that gets requests beside the active one."""
    service = history.main_service(observation)
    return service.annotations.get(names.ANNOTATION_NEXT) or None if service else None


def overlap_since(observation: Observation) -> datetime | None:
    """Since when the Service selects two rollouts; None where it does not."""
    service = history.main_service(observation)
    return history.moment(service.annotations.get(names.ANNOTATION_OVERLAP_SINCE)) if service else None


@dataclass(frozen=True)
class Standing:
    """Where a canary stands. `since` None: clients do not get the step's share yet."""

    step: int
    since: datetime | None


def standing(rollout: RolloutSeen | None) -> Standing | None:
    """None where the rollout gets no share by steps, or cannot be read."""
    step = rollout.annotations.get(ANNOTATION_STEP, "") if rollout else ""
    if rollout is None or not step.isdecimal() or int(step) < 1:
        return None
    return Standing(int(step), history.moment(rollout.annotations.get(ANNOTATION_STEP_SINCE)))


def servers_for(wanted: Replicas, *, weight: int) -> Replicas:
    """New servers that get `weight` percent of the requests, or a little less, beside all of the old ones.

    Each target has one at least, and no more than all: beyond 50 percent the share does not grow.
    """
    counts = {
        target: min(count, max(1, count * weight // (100 - weight)))
        for target, count in wanted.by_target.items()
    }
    return replace(wanted, by_target=counts)


def share(stage: Stage, message: str) -> ServeOutcome | None:
    """The next step towards both rollouts being asked; None where they are.

    What part of the requests the new servers get follows from their number.
    """
    if stage.active is None or (
        taking_over(stage.observation) == stage.hash and overlap_since(stage.observation)
    ):
        return None
    bystanders = _bystanders(stage.observation, {stage.active, stage.hash})
    if bystanders:
        # The Service then selects by ensemble alone: no third rollout may have pods.
        # Those that a Gateway's proxy may still ask have a moment more, and so has the switch.
        asked = still_asked(stage.observation)
        ends = [
            Delete("Deployment", deployment.name, deployment.uid)
            for deployment in bystanders
            if deployment.labels.get(LABEL_ROLLOUT) not in asked
        ]
        return stage.outcome(Reason.PROMOTING, OTHERS_END, *ends)
    strays = _strays(stage.observation, {stage.active, stage.hash})
    if strays:
        waiting = f"{OTHERS_END}{named(strays, stage.observation.now)}"
        return stage.outcome(Reason.PROMOTING, waiting, wake=stage.observation.now + OVERLAP)
    begun = stage.outcome(Reason.PROMOTING, message, _both(stage, stage.active))
    return replace(begun, wake=stage.observation.now + OVERLAP)


def _both(stage: Stage, active: str) -> Action:
    old = history.find(stage.observation, active)
    return Apply(
        overlap_manifest(
            stage.observation,
            owner_of(stage.observation),
            old.data if old else stage.wanted,
            active=active,
            following=stage.hash,
            since=stage.observation.now,
        )
    )


def _bystanders(observation: Observation, parties: set[str]) -> list[DeploymentSeen]:
    return [
        deployment
        for deployment in observation.deployments
        if deployment.labels.get(LABEL_ROLLOUT) not in parties and (deployment.pods or deployment.replicas)
    ]


def _strays(observation: Observation, parties: set[str]) -> list[PodSeen]:
    """Pods that are of neither rollout and may be asked: their Deployment went before them, or is not
    ours.
    """
    return [
        pod
        for pod in observation.strays
        if pod.labels.get(LABEL_ROLLOUT) not in parties and not (pod.deleting or pod.ended)
    ]
