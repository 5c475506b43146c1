"""Lane A: which revision is wanted? Assemble, build what is missing, assemble again until there is one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from ensemble_operator.config import OperatorConfig
from ensemble_operator.names import (
    ANNOTATION_INPUTS,
    ANNOTATION_KEY,
    ANNOTATION_ROUND,
)
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, AddOwner, Annotate, Create
from ensemble_operator.plan.desired import Desired
from ensemble_operator.plan.jobs import Failed, Running, Succeeded, attempt_of, judge
from ensemble_operator.plan.observation import JobSeen, Observation, RolloutSeen
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import JobContext, assemble_job, build_job
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.request import request_config_map
from ensemble_operator.resources.rollout import ANNOTATION_ALSO_INPUTS, RolloutData
from ensembles_api.contract import NextBuild, Result, TargetRequest
from ensembles_api.reasons import Reason
from ensembles_api.spec import Gpu

MAX_ROUNDS = 8
MAX_ALSO_INPUTS = 32
"""So many inputs digests that give one revision are remembered; older ones are assembled again."""


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
    building: frozenset[str] = frozenset()
    """Names of the models whose artifacts are being built."""
    builds_total: int = 0
    builds_done: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Chain:
    """The assemble and build Jobs of one inputs digest."""

    observation: Observation
    desired: Desired
    config: OperatorConfig
    context: JobContext
    kept: frozenset[str] = frozenset()

    def keep(self, *names: str) -> _Chain:
        return replace(self, kept=self.kept | set(names))


def build(observation: Observation, desired: Desired, config: OperatorConfig) -> BuildOutcome:
    """One step of lane A for these inputs."""
    known = _known_revision(observation, desired)
    if known is not None:
        data = _rollout_data(observation, desired, config, known.data)
        return BuildOutcome(
            Reason.PUBLISHED,
            f"revision {known.data.revision[:12]} is published",
            wanted=data,
            assembled=True,
            built=True,
            kept_jobs=frozenset(job.name for job in _assemble_jobs(observation, desired)),
        )
    chain = _Chain(observation, desired, config, job_context(observation, desired, config))
    return _round(chain)


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


def _known_revision(observation: Observation, desired: Desired) -> RolloutSeen | None:
    same = [rollout for rollout in observation.rollouts if desired.inputs in history.inputs_of(rollout)]
    return max(same, key=lambda rollout: rollout.number, default=None)


def _rollout_data(
    observation: Observation, desired: Desired, config: OperatorConfig, found: RolloutData | Result
) -> RolloutData:
    server = found.server
    if server is None:
        raise ValueError("an assemble result with a revision names the server's requirements")
    targets = desired.request.targets
    if server.gpu and not desired.spec.serving.targets:
        targets = tuple(TargetRequest(name=target.name, gpu=target.gpu or Gpu()) for target in targets)
    data = RolloutData(
        uid=observation.uid,
        inputs=desired.inputs,
        revision=found.revision,
        lock=found.lock,
        storage=desired.spec.storage,
        server_image=desired.images.server,
        tools_image=config.tools_image,
        image_pull_policy=config.image_pull_policy,
        serving=desired.spec.serving,
        verify_seconds=desired.spec.rollout.verify_seconds,
        targets=targets,
        server=server,
        requested_at=desired.requested_at,
    )
    return _with_known_renderer(observation, data)


def _with_known_renderer(observation: Observation, data: RolloutData) -> RolloutData:
    """Keep the renderer of a rollout that differs in nothing else: a new operator restarts no servers."""
    for rollout in sorted(observation.rollouts, key=lambda r: r.number, reverse=True):
        older = data.model_copy(update={"renderer": rollout.data.renderer})
        if older.rollout_hash() == history.rollout_name(rollout):
            return older
    return data


def _assemble_jobs(observation: Observation, desired: Desired) -> list[JobSeen]:
    return [
        job
        for job in observation.jobs
        if job.labels.get("ensembles.dev/role") == "assemble"
        and job.annotations.get(ANNOTATION_INPUTS) == desired.inputs
        and not job.deleting
    ]


def _round_of(job: JobSeen) -> int:
    return int(job.annotations.get(ANNOTATION_ROUND, "1"))


def _round(chain: _Chain) -> BuildOutcome:
    jobs = _assemble_jobs(chain.observation, chain.desired)
    if not jobs:
        return _start(chain)
    # Earlier rounds stay for their logs; the newest attempt of the newest round decides.
    chain = chain.keep(*(job.name for job in jobs if _round_of(job) < max(map(_round_of, jobs))))
    job = max(jobs, key=lambda j: (_round_of(j), attempt_of(j)))
    chain = chain.keep(job.name)
    verdict = judge(job, now=chain.observation.now)
    if isinstance(verdict, Running):
        return _outcome(chain, Reason.ASSEMBLING, "sources are pinned and checked", trouble=verdict.wait)
    if isinstance(verdict, Failed):
        return _retry_assemble(chain, job, verdict.trouble)
    result = verdict.result
    if result.revision:
        data = _rollout_data(chain.observation, chain.desired, chain.config, result)
        return replace(
            _outcome(
                chain,
                Reason.PUBLISHED,
                f"revision {result.revision[:12]} is published",
                actions=_remember(chain, result),
            ),
            wanted=data,
            assembled=True,
            built=True,
            warnings=result.warnings,
        )
    return _build_missing(chain, job, result)


def _remember(chain: _Chain, result: Result) -> tuple[Action, ...]:
    """Other inputs gave a revision that a rollout has already: note it, or they are assembled for ever."""
    same = [
        rollout
        for rollout in chain.observation.rollouts
        if (rollout.data.revision, rollout.data.server) == (result.revision, result.server)
    ]
    newest = max(same, key=lambda rollout: rollout.number, default=None)
    if newest is None or any(chain.desired.inputs in history.inputs_of(rollout) for rollout in same):
        return ()
    known = (*history.inputs_of(newest)[1:], chain.desired.inputs)[-MAX_ALSO_INPUTS:]
    note = {ANNOTATION_ALSO_INPUTS: " ".join(known)}
    return (Annotate("ControllerRevision", newest.name, newest.uid, note),)


def _outcome(
    chain: _Chain,
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


def _start(chain: _Chain) -> BuildOutcome:
    document = request_config_map(
        owner=chain.context.owner, inputs=chain.desired.inputs, request=chain.desired.request
    )
    job = assemble_job(
        context=chain.context,
        inputs=chain.desired.inputs,
        number=1,
        attempt=1,
        lock=None,
        built=(),
        first_failure=None,
    )
    return _outcome(
        chain, Reason.ASSEMBLING, "sources are pinned and checked", actions=(Create(document), Create(job))
    )


def _retry_assemble(chain: _Chain, job: JobSeen, trouble: Trouble) -> BuildOutcome:
    if trouble.retry_at is None or trouble.retry_at > chain.observation.now:
        return _outcome(chain, Reason.ASSEMBLING, "assembling failed", trouble=trouble)
    vanished = trouble.reason is Reason.ARTIFACT_VANISHED
    again = assemble_job(
        context=chain.context,
        inputs=chain.desired.inputs,
        number=_round_of(job),
        attempt=attempt_of(job) + 1,
        lock=job.annotations.get("ensembles.dev/lock") or None,
        # What vanished must be built again, so this attempt expects nothing to be there.
        built=() if vanished else _built(chain, before=_round_of(job)),
        first_failure=trouble.since,
    )
    return _outcome(
        chain, Reason.ASSEMBLING, f"attempt {attempt_of(job) + 1}", trouble=trouble, actions=(Create(again),)
    )


def _built(chain: _Chain, *, before: int) -> tuple[str, ...]:
    """Keys that earlier rounds asked for and that were built."""
    keys: list[str] = []
    for job in _assemble_jobs(chain.observation, chain.desired):
        verdict = judge(job, now=chain.observation.now)
        if _round_of(job) < before and isinstance(verdict, Succeeded):
            keys += [order.key for order in verdict.result.next]
    return tuple(sorted(set(keys)))


def _build_missing(chain: _Chain, assemble: JobSeen, result: Result) -> BuildOutcome:
    """Start, watch and retry the builds that a round found missing; when all are done, begin the next."""
    actions: list[Action] = []
    building: set[str] = set()
    troubles: list[Trouble] = []
    done = active = 0
    for order in result.next:
        job = _build_job_of(chain.observation, order, after=assemble.created)
        if job is None:
            if active < chain.config.parallel_builds:
                actions.append(
                    Create(_new_build(chain, order, result.lock, attempt=_stale_attempts(chain, order) + 1))
                )
                active += 1
            building.add(order.model)
            continue
        chain = chain.keep(job.name)
        if chain.observation.uid not in job.owners:
            actions.append(AddOwner(job.name, job.uid))
        verdict = judge(job, now=chain.observation.now)
        if isinstance(verdict, Succeeded):
            done += 1
            continue
        building.add(order.model)
        if isinstance(verdict, Running):
            active += 1
            troubles += [verdict.wait] if verdict.wait else []
            continue
        trouble = verdict.trouble
        troubles.append(trouble)
        if trouble.retry_at is not None and trouble.retry_at <= chain.observation.now:
            actions.append(
                Create(
                    _new_build(chain, order, result.lock, attempt=attempt_of(job) + 1, since=trouble.since)
                )
            )
    if done == len(result.next):
        return _next_round(chain, assemble, result)
    names = ", ".join(sorted(building))
    outcome = _outcome(
        chain,
        Reason.BUILDING,
        f"{done} of {len(result.next) + result.more} artifacts are built; building {names}",
        trouble=_worst(troubles, chain.observation.now),
        actions=tuple(actions),
    )
    wakes = [trouble.retry_at for trouble in troubles if trouble.retry_at]
    return replace(
        outcome,
        assembled=True,
        building=frozenset(building),
        builds_total=len(result.next) + result.more,
        builds_done=done,
        wake=min(wakes, default=None),
        warnings=result.warnings,
    )


def _worst(troubles: list[Trouble], now: datetime) -> Trouble | None:
    """The one to show: what needs the user first."""
    return max(troubles, key=lambda t: (t.stalled(now), t.retry_at is not None), default=None)


def _jobs_of_key(observation: Observation, order: NextBuild) -> list[JobSeen]:
    return [
        job
        for job in observation.jobs
        if job.labels.get("ensembles.dev/role") == "build"
        and job.annotations.get(ANNOTATION_KEY) == order.key
    ]


def _build_job_of(observation: Observation, order: NextBuild, *, after: datetime) -> JobSeen | None:
    """The newest build Job of a key. One that ended before the assembler looked is no news: the artifact was
    missing all the same.
    """
    fresh = [
        job
        for job in _jobs_of_key(observation, order)
        if not job.deleting and not (job.finished_at is not None and job.finished_at < after)
    ]
    return max(fresh, key=attempt_of, default=None)


def _stale_attempts(chain: _Chain, order: NextBuild) -> int:
    return max((attempt_of(job) for job in _jobs_of_key(chain.observation, order)), default=0)


def _new_build(
    chain: _Chain, order: NextBuild, lock: str, *, attempt: int, since: datetime | None = None
) -> dict[str, object]:
    target = next((t for t in chain.desired.request.targets if t.name == order.target), None)
    return build_job(
        context=chain.context, order=order, lock=lock, attempt=attempt, target=target, first_failure=since
    )


def _next_round(chain: _Chain, assemble: JobSeen, result: Result) -> BuildOutcome:
    number = _round_of(assemble) + 1
    if number > MAX_ROUNDS:
        trouble = Trouble(Reason.TOO_MANY_ROUNDS, f"still not complete after {MAX_ROUNDS} rounds of building")
        return replace(_outcome(chain, Reason.BUILDING, "", trouble=trouble), assembled=True)
    job = assemble_job(
        context=chain.context,
        inputs=chain.desired.inputs,
        number=number,
        attempt=1,
        lock=result.lock,
        built=tuple(sorted({*_built(chain, before=number)})),
        first_failure=None,
    )
    return replace(
        _outcome(chain, Reason.ASSEMBLING, "the revision is put together", actions=(Create(job),)),
        assembled=True,
        built=True,
        warnings=result.warnings,
    )
