"""The verification Job of a rollout: created with its servers, judged when it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.jobs import Failed, Running, Succeeded, attempt_of, judge, newest, of_rollout
from ensemble_operator.plan.observation import Observation
from ensemble_operator.plan.replicas import Replicas
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import verify_job
from ensemble_operator.resources.rollout import RolloutData


@dataclass(frozen=True)
class Verification:
    succeeded: bool = False
    failed: Trouble | None = None
    wait: Trouble | None = None
    create: dict[str, Any] | None = None
    """The Job to create now: the first, or the next attempt."""


@dataclass(frozen=True)
class _Asked:
    observation: Observation
    config: OperatorConfig
    data: RolloutData
    replicas: Replicas

    def job(self, *, attempt: int, trouble: Trouble | None = None) -> dict[str, Any]:
        return verify_job(
            owner=owner_of(self.observation),
            data=self.data,
            config=self.config,
            attempt=attempt,
            first_failure=trouble.since if trouble else None,
            servers=self.replicas.total,
        )


def verification(
    observation: Observation, config: OperatorConfig, data: RolloutData, rollout: str, *, replicas: Replicas
) -> Verification:
    asked = _Asked(observation, config, data, replicas)
    job = newest(of_rollout(observation, "verify", rollout))
    if job is None:
        return Verification(create=asked.job(attempt=1))
    verdict = judge(job, now=observation.now)
    if isinstance(verdict, Succeeded):
        return Verification(succeeded=True)
    if isinstance(verdict, Running):
        return Verification(wait=verdict.wait)
    return _failed(asked, attempt_of(job), verdict)


def _failed(asked: _Asked, attempt: int, verdict: Failed) -> Verification:
    trouble = verdict.trouble
    if trouble.retry_at is not None and trouble.retry_at <= asked.observation.now:
        return Verification(failed=trouble, create=asked.job(attempt=attempt + 1, trouble=trouble))
    return Verification(failed=trouble)
