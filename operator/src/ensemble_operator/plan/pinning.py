"""Lane A where spec.rollout.pinRevision names a revision of the history: nothing is assembled or built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ensemble_operator.plan import history
from ensemble_operator.plan.build_states import noted_states
from ensemble_operator.plan.chain import BuildOutcome
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.plan.stage import ServeOutcome
from ensemble_operator.plan.trouble import Trouble
from ensembles_api.reasons import Nature, Reason

FIELD = "spec.rollout.pinRevision"
MOST_NAMED = 10
"""So many revisions of the history a message names."""


def pinned_revision(observation: Observation) -> str | None:
    """The revision that serves whatever else the spec asks for; None where the spec decides."""
    return observation.spec.rollout.pin_revision if observation.spec else None


def pin(observation: Observation, revision: str) -> BuildOutcome:
    """Want the rollout of that revision as it was recorded, with its servers' settings of then."""
    found = rollout_of(observation, revision)
    if found is None:
        return BuildOutcome(Reason.PENDING, "", trouble=_unknown(observation, revision), decided=True)
    return BuildOutcome(
        Reason.PUBLISHED,
        f"revision {revision[:12]} is published",
        wanted=found.data,
        assembled=True,
        built=True,
        decided=True,
        builds=noted_states(found),
        warnings=history.warnings_of(found),
    )


def told(serving: ServeOutcome) -> ServeOutcome:
    """What lane B reports, with a word on why it is not what the rest of the spec asks for."""
    trouble = serving.trouble
    if trouble is not None and trouble.nature is Nature.USER:
        trouble = replace(trouble, message=f"{trouble.message}; {FIELD} names it: pin another, or none")
    message = f"{serving.message}, as {FIELD} says" if serving.message else ""
    return replace(serving, trouble=trouble, message=message)


def rollout_of(observation: Observation, revision: str) -> RolloutSeen | None:
    """The rollout of a revision that served last, else the last one that was tried; None where there is none,
    or where its files are being removed.
    """
    whole = [
        rollout
        for rollout in observation.rollouts
        if rollout.data.revision == revision and history.outcome(rollout) != history.PRUNING
    ]
    return max(whole, key=lambda rollout: (history.promoted_at(rollout), rollout.number), default=None)


def _unknown(observation: Observation, revision: str) -> Trouble:
    if any(rollout.data.revision == revision for rollout in observation.rollouts):
        what = (
            f"revision {revision[:12]} was beyond revisionHistoryLimit and its files are being removed; take "
            "the pin away and apply the spec that it came from, which publishes it again"
        )
    else:
        what = f"revision {revision[:12]} is not in the history; {_choice(observation.rollouts)}"
    return Trouble(Reason.REVISION_UNKNOWN, what, field=FIELD)


def _choice(rollouts: Iterable[RolloutSeen]) -> str:
    newest = sorted(rollouts, key=lambda rollout: rollout.number, reverse=True)
    there = dict.fromkeys(r.data.revision for r in newest if history.outcome(r) != history.PRUNING)
    if not there:
        return "which is empty: take the pin away"
    return f"choose one of {', '.join(list(there)[:MOST_NAMED])}"
