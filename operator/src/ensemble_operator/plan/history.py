"""Rollouts as the planner sees them: which serves, which failed, which may go."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from ensemble_operator.names import ANNOTATION_ACTIVE, ANNOTATION_NEXT
from ensemble_operator.plan.observation import ObjectSeen, Observation, RolloutSeen
from ensemble_operator.resources.rollout import (
    ANNOTATION_ALSO_INPUTS,
    ANNOTATION_GIVEN_BACK_AT,
    ANNOTATION_OUTCOME,
    ANNOTATION_PROMOTED_AT,
    ANNOTATION_REASON,
    ANNOTATION_RETIRED_AT,
    ANNOTATION_RETIRED_FOR,
    ANNOTATION_WARNINGS,
)
from ensembles_api.names import LABEL_ROLLOUT
from ensembles_api.reasons import Reason
from ensembles_api.spec.rollout import Rollout

WARNINGS = TypeAdapter(tuple[str, ...])
PROMOTED = "Promoted"
FAILED = "Failed"
SUPERSEDED = "Superseded"
FAILED_LATER = Reason.FAILED_AFTER_PROMOTION.value
"""Noted as the reason of a failed rollout that clients had reached."""
GIVEN_BACK = timedelta(minutes=10)
"""So long what served before keeps the GPU that the next servers had in vain; then they try again."""
PRUNING = "Pruning"
"""Its revision is being removed from storage, or was in part."""


def rollout_name(rollout: RolloutSeen) -> str:
    """The rollout's hash as it was when the rollout began: a later operator may compute another."""
    return rollout.name.rpartition("-")[2]


def outcome(rollout: RolloutSeen) -> str:
    return rollout.annotations.get(ANNOTATION_OUTCOME, "")


def promoted_at(rollout: RolloutSeen) -> str:
    """When the Service was moved to it last, as text that sorts; empty where it never was."""
    return rollout.annotations.get(ANNOTATION_PROMOTED_AT, "")


def inputs_of(rollout: RolloutSeen) -> tuple[str, ...]:
    """Every inputs digest that is known to lead to the rollout's revision; its own is first."""
    return (rollout.data.inputs, *rollout.annotations.get(ANNOTATION_ALSO_INPUTS, "").split())


def warnings_of(rollout: RolloutSeen) -> tuple[str, ...]:
    """What the assembler warned of at this revision; nothing where the note cannot be read."""
    with suppress(ValidationError):
        return WARNINGS.validate_json(rollout.annotations.get(ANNOTATION_WARNINGS, "[]"))
    return ()


def find(observation: Observation, rollout: str) -> RolloutSeen | None:
    return next((r for r in observation.rollouts if rollout_name(r) == rollout), None)


def main_service(observation: Observation) -> ObjectSeen | None:
    return next((s for s in observation.services if s.name == observation.name), None)


def is_ours(seen: ObjectSeen, observation: Observation) -> bool:
    return observation.uid in seen.owners


def active_rollout(observation: Observation) -> str | None:
    """What clients reach: what the Service says; where it is gone or was emptied, the last promotion."""
    service = main_service(observation)
    if service is not None and is_ours(service, observation):
        named = service.annotations.get(ANNOTATION_ACTIVE)
        selected = service.manifest.get("spec", {}).get("selector", {}).get(LABEL_ROLLOUT)
        for candidate in (named, selected):
            if candidate and find(observation, candidate):
                return str(candidate)
    newest = max(filter(_was_reached, observation.rollouts), key=promoted_at, default=None)
    return rollout_name(newest) if newest else None


def _was_reached(rollout: RolloutSeen) -> bool:
    """Whether clients were moved to it, and to no other since, as far as its record tells."""
    failed = outcome(rollout) == FAILED and rollout.annotations.get(ANNOTATION_REASON) == FAILED_LATER
    return outcome(rollout) == PROMOTED or failed


def selected(observation: Observation) -> set[str]:
    """The rollouts that the Service says it selects: their servers stay, whatever became of their records."""
    service = main_service(observation)
    if service is None or not is_ours(service, observation):
        return set()
    named = (service.annotations.get(name) for name in (ANNOTATION_ACTIVE, ANNOTATION_NEXT))
    return {rollout for rollout in named if rollout}


def in_progress(observation: Observation) -> set[str]:
    """The rollout that was being brought up last, if it came to no end: it may well be wanted again."""
    newest = max(observation.rollouts, key=lambda rollout: rollout.number, default=None)
    return {rollout_name(newest)} if newest is not None and not outcome(newest) else set()


def replaced_by(
    observation: Observation, rollout: RolloutSeen, *, still: str | None = None
) -> RolloutSeen | None:
    """The rollout that this one took the place of last, of those with the outcome `still`; None: whatever
    became of it since.
    """
    name = rollout_name(rollout)
    replaced = [
        other
        for other in observation.rollouts
        if other.annotations.get(ANNOTATION_RETIRED_FOR) == name and still in {None, outcome(other)}
    ]
    return max(replaced, key=lambda other: other.annotations[ANNOTATION_RETIRED_AT], default=None)


def is_held(settings: Rollout, rollout: RolloutSeen | None) -> bool:
    """Whether spec.rollout.paused holds the wanted rollout. A pin to what has served before is an emergency
    brake: it works in a pause, too.
    """
    braking = settings.pin_revision is not None and rollout is not None and bool(promoted_at(rollout))
    return settings.paused and not braking


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def given_back_until(rollout: RolloutSeen | None, now: datetime) -> datetime | None:
    """Until when a rollout leaves its GPU to what served before; None where it need not."""
    since = moment(rollout.annotations.get(ANNOTATION_GIVEN_BACK_AT)) if rollout else None
    return since + GIVEN_BACK if since is not None and since + GIVEN_BACK > now else None


def retained_until(rollout: RolloutSeen, retain_seconds: int) -> datetime | None:
    """When the servers of a rollout that was replaced may go; None where it was not replaced."""
    retired = moment(rollout.annotations.get(ANNOTATION_RETIRED_AT))
    return retired + timedelta(seconds=retain_seconds) if retired else None
