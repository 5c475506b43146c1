"""How far the artifacts of a spec are, for the status: nothing is decided by it.

The Jobs of the chain tell, and once they are gone the note that was made in the rollout's record.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from pydantic import TypeAdapter, ValidationError

from ensemble_operator.plan.builds import build_job_of
from ensemble_operator.plan.chain import BuildState, Chain, assemble_jobs, round_of
from ensemble_operator.plan.jobs import USER_CODE, Failed, Succeeded, attempt_of, judge
from ensemble_operator.plan.observation import JobSeen, RolloutSeen
from ensemble_operator.resources.rollout import ANNOTATION_BUILDS
from ensembles_api.contract import FoundArtifact, NextBuild, Result
from ensembles_api.status import ModelState

_STATES = TypeAdapter(tuple[BuildState, ...])
KEY_LENGTH = 12
"""Characters of a key that tell artifacts apart for a reader; as many as a FoundArtifact has."""


def build_states(chain: Chain) -> tuple[BuildState, ...]:
    """By what the newest assemble Job that ended well has found, and the builds that it asked for."""
    rounds = [
        (job, result)
        for job in assemble_jobs(chain.observation, chain.desired)
        if (result := _said(chain, job))
    ]
    if not rounds:
        return ()
    rounds.sort(key=lambda one: (round_of(one[0]), attempt_of(one[0])))
    newest, result = rounds[-1]
    built = {
        order.key[:KEY_LENGTH]
        for _, earlier in rounds[:-1]
        for order in earlier.next
        if not earlier.proves(order)
    }
    there = {artifact.key: _there(artifact, built) for artifact in result.found}
    asked = dict.fromkeys(_state(chain, order, newest, there) for order in result.next)
    return (*(state for key, state in there.items() if key not in {each.key for each in asked}), *asked)


def _state(chain: Chain, order: NextBuild, assemble: JobSeen, there: Mapping[str, BuildState]) -> BuildState:
    """Of what is built, or is there and only proven, on several types of GPU perhaps."""
    ordered = _ordered(chain, order, assemble)
    return there.get(ordered.key, ordered) if ordered.state == "Built" else ordered


def noted_states(rollout: RolloutSeen) -> tuple[BuildState, ...]:
    """What the record says of its revision's artifacts; nothing where it cannot be read."""
    with suppress(ValidationError):
        return _STATES.validate_json(rollout.annotations.get(ANNOTATION_BUILDS, "[]"))
    return ()


def note_of(states: tuple[BuildState, ...]) -> str:
    """Text for the record."""
    return _STATES.dump_json(states, exclude_defaults=True).decode()


def _said(chain: Chain, job: JobSeen) -> Result | None:
    verdict = judge(job, now=chain.observation.now)
    return verdict.result if isinstance(verdict, Succeeded) else None


def _there(artifact: FoundArtifact, built: set[str]) -> BuildState:
    state: ModelState = "Built" if artifact.key in built else "Cached"
    return BuildState(artifact.model, artifact.key, state, seconds=artifact.seconds or None)


def _ordered(chain: Chain, order: NextBuild, assemble: JobSeen) -> BuildState:
    model, key = order.model, order.key[:KEY_LENGTH]
    job = build_job_of(chain, order, after=assemble.created)
    if job is None:
        return BuildState(model, key, "Pending")
    verdict = judge(job, now=chain.observation.now)
    if isinstance(verdict, Succeeded):
        return BuildState(model, key, "Built", seconds=_seconds(job))
    if isinstance(verdict, Failed):
        # One that is tried again is as good as running.
        state: ModelState = "Building" if verdict.trouble.retry_at else "Failed"
        return BuildState(model, key, state, since=verdict.trouble.since)
    if verdict.wait is not None:
        return BuildState(model, key, "Waiting", since=verdict.wait.since or job.created)
    return BuildState(model, key, "Building", since=job.created)


def _seconds(job: JobSeen) -> float | None:
    """How long the container worked that made the artifact."""
    for pod in reversed(job.pods):
        for container in pod.containers:
            if container.name in USER_CODE and container.started_at and container.finished_at:
                return (container.finished_at - container.started_at).total_seconds()
    return None
