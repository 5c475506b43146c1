"""The assemble and build Jobs of one inputs digest, and what lane A reports of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from ensemble_operator.config import OperatorConfig
from ensemble_operator.names import ANNOTATION_INPUTS, ANNOTATION_ROUND
from ensemble_operator.plan.actions import Action
from ensemble_operator.plan.desired import Desired
from ensemble_operator.plan.jobs import Succeeded, judge
from ensemble_operator.plan.observation import JobSeen, Observation
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import JobContext
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.names import LABEL_ROLE
from ensembles_api.reasons import Reason
from ensembles_api.status import ModelState


@dataclass(frozen=True)
class BuildState:
    """An artifact of a model, for the status.

    key: its beginning. since: when its build began, or began to wait. seconds: what building it took, now or
    (Cached) once; None where nobody knows.
    """

    model: str
    key: str
    state: ModelState
    since: datetime | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class BuildOutcome:
    """Where lane A stands.

    wanted: inputs of the rollout that should serve; None while there is no revision for the spec.
    step: what goes on; message: in words.
    """

    step: Reason
    message: str
    wanted: RolloutData | None = None
    trouble: Trouble | None = None
    actions: tuple[Action, ...] = ()
    kept_jobs: frozenset[str] = frozenset()
    wake: datetime | None = None
    assembled: bool = False
    built: bool = False
    decided: bool = False
    """Every build that the spec still needs is known: a running one that is not named is obsolete."""
    anew: bool = False
    """The spec asks for artifacts that were not there: its revision is none of the rollouts that are."""
    building: frozenset[str] = frozenset()
    """Names of the models whose artifacts are being built."""
    builds: tuple[BuildState, ...] = ()
    """Every artifact that is known of; those of models that need none, or whose Jobs are gone, are not."""
    builds_total: int = 0
    builds_done: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain:
    """The assemble and build Jobs of one inputs digest."""

    observation: Observation
    desired: Desired
    config: OperatorConfig
    context: JobContext
    kept: frozenset[str] = frozenset()

    def keep(self, *names: str) -> Chain:
        return replace(self, kept=self.kept | set(names))


def job_context(observation: Observation, desired: Desired, config: OperatorConfig) -> JobContext:
    return JobContext(
        owner=owner_of(observation),
        config=config,
        storage=desired.spec.storage,
        build=desired.spec.build,
        serving_pull_secrets=desired.spec.serving.image_pull_secrets,
        builder_image=desired.images.builder,
        source_secrets=desired.source_secrets,
        config_maps=desired.config_maps,
        runtime_class_name=desired.spec.serving.runtime_class_name,
    )


def owner_of(observation: Observation) -> Owner:
    return Owner(namespace=observation.namespace, name=observation.name, uid=observation.uid)


def assemble_jobs(observation: Observation, desired: Desired) -> list[JobSeen]:
    return [
        job
        for job in observation.jobs
        if job.labels.get(LABEL_ROLE) == "assemble"
        and job.annotations.get(ANNOTATION_INPUTS) == desired.inputs
        and not job.deleting
    ]


def round_of(job: JobSeen) -> int:
    return int(job.annotations.get(ANNOTATION_ROUND, "1"))


def stand(
    chain: Chain,
    step: Reason,
    message: str,
    *,
    trouble: Trouble | None = None,
    actions: tuple[Action, ...] = (),
) -> BuildOutcome:
    return BuildOutcome(
        step,
        message,
        trouble=trouble,
        actions=actions,
        kept_jobs=chain.kept,
        wake=trouble.retry_at if trouble else None,
    )


def built_keys(chain: Chain, *, before: int) -> tuple[str, ...]:
    """Keys that earlier rounds asked for and that were built."""
    keys: list[str] = []
    for job in assemble_jobs(chain.observation, chain.desired):
        verdict = judge(job, now=chain.observation.now)
        if round_of(job) < before and isinstance(verdict, Succeeded):
            keys += [order.key for order in verdict.result.next]
    return tuple(sorted(set(keys)))
