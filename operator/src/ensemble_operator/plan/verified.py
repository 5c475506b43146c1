"""How rollouts stood their verification: noted at the rollout, since its Job goes, and shown in status."""

from __future__ import annotations

from pydantic import ValidationError

from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Annotate
from ensemble_operator.plan.jobs import newest, of_rollout, result_of
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.resources.rollout import ANNOTATION_VERIFICATION
from ensembles_api.contract import VerificationSummary
from ensembles_api.status import FailedCase, VerificationStatus


def notes(observation: Observation) -> tuple[Action, ...]:
    """Notes of verifications that have ended, again and again until they are written."""
    found = []
    for rollout in observation.rollouts:
        summary = _from_job(observation, history.rollout_name(rollout))
        if summary is not None and summary != _noted(rollout):
            note = {ANNOTATION_VERIFICATION: summary.canonical().decode()}
            found.append(Annotate("ControllerRevision", rollout.name, rollout.uid, note))
    return tuple(found)


def status_of(observation: Observation, *rollouts: str | None) -> VerificationStatus | None:
    """Of the first of these rollouts that was asked."""
    for name in rollouts:
        rollout = history.find(observation, name) if name else None
        if rollout is None or name is None:
            continue
        summary = _from_job(observation, name) or _noted(rollout)
        if summary is not None:
            return _status(rollout, summary)
    return None


def _from_job(observation: Observation, rollout: str) -> VerificationSummary | None:
    job = newest(of_rollout(observation, "verify", rollout))
    result = result_of(job) if job else None
    return result.verification if result else None


def _noted(rollout: RolloutSeen) -> VerificationSummary | None:
    try:
        return VerificationSummary.model_validate_json(rollout.annotations.get(ANNOTATION_VERIFICATION, ""))
    except ValidationError:
        return None


def _status(rollout: RolloutSeen, summary: VerificationSummary) -> VerificationStatus:
    return VerificationStatus(
        revision=rollout.data.revision,
        rollout=history.rollout_name(rollout),
        servers=summary.servers,
        passed=summary.passed,
        failed=summary.failed,
        unproven=summary.unproven,
        seconds=summary.seconds,
        report=summary.report,
        failures=[
            FailedCase(case=each.case, model=each.model, server=each.server[:64], message=each.message[:512])
            for each in summary.failures[:8]
        ],
    )
