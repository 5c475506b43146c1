"""The verification Job of a rollout: created with its servers, judged when it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan.build_lane import owner_of
from ensemble_operator.plan.jobs import Failed, Running, Succeeded, attempt_of, judge
from ensemble_operator.plan.observation import Observation
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import verify_job
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.names import LABEL_ROLLOUT


@dataclass(frozen=True)
class Verification:
    succeeded: bool = False
    failed: Trouble | None = None
    wait: Trouble | None = None
    create: dict[str, Any] | None = None
    """The Job to create now: the first, or the next attempt."""


def verification(
    observation: Observation, config: OperatorConfig, data: RolloutData, rollout: str
) -> Verification:
    jobs = [
        job
        for job in observation.jobs
        if job.labels.get("ensembles.dev/role") == "verify"
        and job.labels.get(LABEL_ROLLOUT) == rollout
        and not job.deleting
    ]
    newest = max(jobs, key=attempt_of, default=None)
    if newest is None:
        return Verification(create=_job(observation, config, data, attempt=1))
    verdict = judge(newest, now=observation.now)
    if isinstance(verdict, Succeeded):
        return Verification(succeeded=True)
    if isinstance(verdict, Running):
        return Verification(wait=verdict.wait)
    return _failed(observation, config, data, attempt_of(newest), verdict)


def _failed(
    observation: Observation, config: OperatorConfig, data: RolloutData, attempt: int, verdict: Failed
) -> Verification:
    trouble = verdict.trouble
    if trouble.retry_at is not None and trouble.retry_at <= observation.now:
        again = _job(observation, config, data, attempt=attempt + 1, trouble=trouble)
        return Verification(failed=trouble, create=again)
    return Verification(failed=trouble)


def _job(
    observation: Observation,
    config: OperatorConfig,
    data: RolloutData,
    *,
    attempt: int,
    trouble: Trouble | None = None,
) -> dict[str, Any]:
    return verify_job(
        owner=owner_of(observation),
        data=data,
        config=config,
        attempt=attempt,
        first_failure=trouble.since if trouble else None,
    )
