"""How many servers each target of a rollout shall have. Nothing else decides this number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.spec import InferenceEnsembleSpec


@dataclass(frozen=True)
class Replicas:
    """Servers wanted of one rollout; true where there is any."""

    by_target: Mapping[str, int]
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


def replicas(spec: InferenceEnsembleSpec, data: RolloutData) -> Replicas:
    """What the spec asks for, for the targets that this rollout has."""
    count = spec.serving.replicas
    return Replicas({target.name: count for target in data.targets}, floor=count)
