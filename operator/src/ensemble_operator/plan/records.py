"""status.history from the rollouts' records: what, when, by whom, why, and how it ended."""

from __future__ import annotations

from datetime import datetime

from ensemble_operator.plan import history
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.resources.rollout import (
    ANNOTATION_CHANGES,
    ANNOTATION_FAILED_AT,
    ANNOTATION_MESSAGE,
    ANNOTATION_RETIRED_AT,
    ANNOTATION_RETIRED_FOR,
    ANNOTATION_STARTED_BY,
    ANNOTATION_VERIFIED_AT,
)
from ensembles_api.names import ANNOTATION_CHANGE_CAUSE
from ensembles_api.status import RolloutRecord

ROLLED_BACK = "RolledBack"
"""Shown for a rollout that was replaced by an earlier one."""
PENDING = "Pending"


def records(observation: Observation) -> list[RolloutRecord]:
    """Every rollout, newest first."""
    newest_first = sorted(observation.rollouts, key=lambda rollout: rollout.number, reverse=True)
    return [_record(observation, rollout) for rollout in newest_first]


def _record(observation: Observation, rollout: RolloutSeen) -> RolloutRecord:
    notes = rollout.annotations
    outcome = _outcome(observation, rollout)
    promoted, failed = (
        history.moment(history.promoted_at(rollout)),
        history.moment(notes.get(ANNOTATION_FAILED_AT)),
    )
    return RolloutRecord(
        number=rollout.number,
        revision=rollout.data.revision,
        rollout=history.rollout_name(rollout),
        outcome=outcome,
        started_at=_text(rollout.created),
        started_by=_short(notes.get(ANNOTATION_STARTED_BY), 128),
        cause=_short(notes.get(ANNOTATION_CHANGE_CAUSE), 512),
        changes=_short(notes.get(ANNOTATION_CHANGES), 512),
        verified_at=_text(history.moment(notes.get(ANNOTATION_VERIFIED_AT))),
        promoted_at=_text(promoted),
        retired_at=None
        if outcome == history.PROMOTED
        else _text(history.moment(notes.get(ANNOTATION_RETIRED_AT))),
        finished_at=_text(failed if outcome == history.FAILED else promoted or failed),
        message=_short(notes.get(ANNOTATION_MESSAGE), 1024),
    )


def _outcome(observation: Observation, rollout: RolloutSeen) -> str:
    known = history.outcome(rollout)
    follower = history.find(observation, rollout.annotations.get(ANNOTATION_RETIRED_FOR, ""))
    if known == history.SUPERSEDED and follower is not None and follower.number < rollout.number:
        return ROLLED_BACK
    return known or PENDING


def _short(text: str | None, limit: int) -> str | None:
    return text[:limit] if text else None


def _text(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
