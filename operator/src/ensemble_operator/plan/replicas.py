"""How many servers each target of a rollout shall have. Nothing else decides this number.

Where an autoscaler owns the number, it is what its Deployment has now. The next rollout starts with as many
as serve now, whatever becomes of the old servers meanwhile: a note on its record keeps their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ensemble_operator.plan import history
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.resources.rollout import (
    ANNOTATION_PROMOTED_AT,
    ANNOTATION_SERVERS_BEFORE,
    RolloutData,
)
from ensembles_api.names import LABEL_ROLE, LABEL_ROLLOUT, LABEL_TARGET
from ensembles_api.spec import InferenceEnsembleSpec

Counts = Mapping[str, int]
"""Servers by target."""


@dataclass(frozen=True)
class Replicas:
    """Servers wanted of one rollout; true where there is any."""

    by_target: Counts
    floor: int
    """Servers of each target that are there whatever happens; more than one get a PodDisruptionBudget."""

    def __bool__(self) -> bool:
        return self.total > 0

    @property
    def total(self) -> int:
        return sum(self.by_target.values())

    def of(self, target: str) -> int:
        """Raises KeyError: the rollout has no such target."""
        return self.by_target[target]


def replicas(observation: Observation, spec: InferenceEnsembleSpec, data: RolloutData) -> Replicas:
    """What is asked for now, for the targets that this rollout has."""
    scaling, count = spec.autoscaling, spec.serving.replicas
    targets = [target.name for target in data.targets]
    if scaling is None or not count:
        return Replicas(dict.fromkeys(targets, count), floor=count)
    active, rollout = history.active_rollout(observation), data.rollout_hash()
    own, floor = servers(observation, rollout), scaling.min_replicas
    if active is None or rollout == active:
        noted = _noted_of(observation, active) if active else {}
        scaled = scaled_targets(observation)
        least = {target: 0 if target in scaled else noted.get(target, 0) for target in targets}
        return Replicas({target: max(own.get(target) or floor, least[target]) for target in targets}, floor)
    before, noted = servers(observation, active), _noted(observation, history.find(observation, rollout))
    counts = {
        target: max(floor, own.get(target, 0), before.get(target, 0), noted.get(target, 0))
        for target in targets
    }
    return Replicas(counts, floor)


def scaled_targets(observation: Observation) -> set[str]:
    """Targets of which an autoscaler sets the number of servers."""
    return {
        seen.labels.get(LABEL_TARGET, "")
        for seen in observation.autoscalers
        if seen.labels.get(LABEL_ROLE) == "autoscaler"
    }


def servers(observation: Observation, rollout: str) -> dict[str, int]:
    """What a rollout's Deployments ask for."""
    return {
        deployment.labels.get(LABEL_TARGET, ""): deployment.replicas
        for deployment in observation.deployments
        if deployment.labels.get(LABEL_ROLLOUT) == rollout and not deployment.deleting
    }


def servers_before(observation: Observation, data: RolloutData) -> dict[str, str]:
    """The note for the record of a rollout that begins: how many servers it takes over from.

    Where no autoscaler has set their number yet an exchange may have reduced it, if autoscaling was switched
    on in the midst of it: there were as many as the spec said when the rollout, of this data, began.
    """
    active = history.active_rollout(observation)
    if active is None or observation.spec is None or observation.spec.autoscaling is None:
        return {}
    scaled = scaled_targets(observation)
    least = {target.name: 0 if target.name in scaled else data.serving.replicas for target in data.targets}
    present = servers(observation, active)
    counts = " ".join(
        f"{target}={max(count, least.get(target, 0))}" for target, count in sorted(present.items())
    )
    return {ANNOTATION_SERVERS_BEFORE: f"{_promotion(observation, active)} {counts}"}


def lacks_note(observation: Observation, rollout: RolloutSeen) -> bool:
    """Whether nothing was noted since the present rollout was promoted."""
    active = history.active_rollout(observation)
    note = rollout.annotations.get(ANNOTATION_SERVERS_BEFORE, "")
    return active is not None and note.partition(" ")[0] != _promotion(observation, active)


def _promotion(observation: Observation, active: str) -> str:
    """Tells one time of serving from another of the same rollout."""
    seen = history.find(observation, active)
    return f"{active}@{seen.annotations.get(ANNOTATION_PROMOTED_AT, '') if seen else ''}"


def _noted(observation: Observation, rollout: RolloutSeen | None) -> dict[str, int]:
    if rollout is None or lacks_note(observation, rollout):
        return {}
    pairs = (pair.partition("=") for pair in rollout.annotations[ANNOTATION_SERVERS_BEFORE].split()[1:])
    return {target: int(count) for target, _, count in pairs if count.isdecimal()}


def _noted_of(observation: Observation, active: str) -> dict[str, int]:
    """The most that the active rollout had when another one began that shall, or should have, replaced it."""
    noted: dict[str, int] = {}
    for rollout in observation.rollouts:
        if history.rollout_name(rollout) != active:
            for target, count in _noted(observation, rollout).items():
                noted[target] = max(count, noted.get(target, 0))
    return noted
