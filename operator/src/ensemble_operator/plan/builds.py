"""The builds that one assemble round found missing: start, share, watch and retry them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from ensemble_operator.names import ANNOTATION_KEY, ANNOTATION_LOCK, ANNOTATION_PROOF, LABEL_STORAGE
from ensemble_operator.plan.actions import Action, AddOwner, Create
from ensemble_operator.plan.chain import BuildOutcome, Chain, assemble_jobs, built_keys, round_of, stand
from ensemble_operator.plan.jobs import (
    Failed,
    Running,
    Succeeded,
    attempt_of,
    first_failure_of,
    is_outdated,
    judge,
    tried_settings,
)
from ensemble_operator.plan.observation import JobSeen
from ensemble_operator.plan.queued import is_elsewhere
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import JobContext, assemble_job, build_job
from ensembles_api.contract import NextBuild, Result
from ensembles_api.names import LABEL_ROLE
from ensembles_api.reasons import Reason
from ensembles_api.sources import iter_exports
from ensembles_api.spec import Export

MAX_ROUNDS = 8
FIELD_OF_MODEL = re.compile(r"spec\.models\[\d+\]")


def build_missing(chain: Chain, assemble: JobSeen, result: Result) -> BuildOutcome:
    """Start, watch and retry the builds that a round found missing; when all are done, begin the next."""
    actions: list[Action] = []
    building: set[str] = set()
    troubles: list[Trouble] = []
    done = 0
    room = chain.config.parallel_builds - _at_work(chain, assemble, result)
    for order in result.next:
        refusal = _cannot_be_served(chain, order)
        if refusal:
            building.add(order.model)
            troubles.append(refusal)
            continue
        job = build_job_of(chain, order, after=assemble.created)
        if job is None:
            if room > 0:
                last = max(_jobs_of_key(chain, order), key=attempt_of, default=None)
                actions.append(Create(_new_build(chain, order, result.lock, after=last)))
                room -= 1
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
        trouble = verdict.wait if isinstance(verdict, Running) else verdict.trouble
        if trouble:
            trouble = _in_our_words(chain, job, order, trouble, lock=result.lock)
            troubles.append(trouble)
        again = trouble is not None and _try_again(chain, order, job, trouble)
        if trouble and again and trouble.reason is Reason.LOCK_VANISHED and _has_lock(job, result.lock):
            return replace(pin_again(chain, assemble, trouble), assembled=True)
        if trouble and again and room > 0:
            # One that only waited, and is made anew for other settings, has not failed.
            since = trouble.since if isinstance(verdict, Failed) else first_failure_of(job)
            actions.append(Create(_new_build(chain, order, result.lock, after=job, since=since)))
            room -= 1
    if done == len(result.next):
        return _next_round(chain, assemble, result)
    proving = {order.model for order in result.next if result.proves(order)} & building
    verbs = (("building", building - proving), ("proving", proving))
    work = ", ".join(f"{verb} {', '.join(sorted(models))}" for verb, models in verbs if models)
    outcome = stand(
        chain,
        Reason.BUILDING,
        f"{done} of {len(result.next) + result.more} artifacts are built; {work}",
        trouble=_worst(troubles, chain.observation.now),
        actions=tuple(actions),
    )
    # What is due and found no room goes on when a build ends, which is an event.
    wakes = [each.retry_at for each in troubles if each.retry_at and each.retry_at > chain.observation.now]
    return replace(
        outcome,
        assembled=True,
        decided=not result.more,
        building=frozenset(building),
        builds_total=len(result.next) + result.more,
        builds_done=done,
        wake=min(wakes, default=None),
        warnings=result.warnings,
    )


def _at_work(chain: Chain, assemble: JobSeen, result: Result) -> int:
    """How many of the builds run; what waits for a node keeps no other from one."""
    jobs = (build_job_of(chain, order, after=assemble.created) for order in result.next)
    verdicts = (judge(job, now=chain.observation.now) for job in jobs if job)
    return sum(isinstance(verdict, Running) and verdict.wait is None for verdict in verdicts)


def _cannot_be_served(chain: Chain, order: NextBuild) -> Trouble | None:
    """A pipeline with GPU operators where the spec states its targets, and all are CPUs: its proof would wait
    for a GPU that such a cluster may never have, and the servers could not load it. Where no targets are
    stated, the servers get a GPU. An export runs on a GPU if it says so itself, whatever it is served on.
    """
    targets = chain.desired.spec.serving.targets
    if order.kind != "dali" or not order.gpu or not targets or any(target.gpu for target in targets):
        return None
    return Trouble(
        Reason.INVALID_SPEC,
        f"the pipeline of model {order.model!r} has GPU operators, and none of the targets has a GPU to "
        "verify and serve it on: give one a gpu, or use CPU operators",
        field="spec.serving.targets",
    )


def _worst(troubles: list[Trouble], now: datetime) -> Trouble | None:
    """The one to show: what needs the user first."""
    return max(troubles, key=lambda t: (t.stalled(now), t.retry_at is not None), default=None)


def _in_our_words(chain: Chain, job: JobSeen, order: NextBuild, trouble: Trouble, *, lock: str) -> Trouble:
    """A Job that another ensemble made names that one's field; ours is where our model stands."""
    if order.field and (not trouble.field or FIELD_OF_MODEL.match(trouble.field)):
        return replace(trouble, field=order.field)
    place = FIELD_OF_MODEL.match(trouble.field)
    if place is None or _has_lock(job, lock):
        return trouble
    models = chain.desired.spec.models
    index = next((i for i, model in enumerate(models) if model.name == order.model), None)
    if index is None:
        return replace(trouble, field="spec.models")
    rest = trouble.field[place.end() :]
    same_shape = rest.startswith(".versions") == bool(models[index].versions)
    return replace(trouble, field=f"spec.models[{index}]{rest if same_shape else ''}")


def _has_lock(job: JobSeen, lock: str) -> bool:
    """Whether a build was begun with this lock: with another, another ensemble began it."""
    return job.annotations.get(ANNOTATION_LOCK) == lock


def pin_again(chain: Chain, assemble: JobSeen, trouble: Trouble) -> BuildOutcome:
    """Begin the chain anew: without its lock nobody knows what its sources were."""
    job = assemble_job(
        context=chain.context,
        inputs=chain.desired.inputs,
        number=round_of(assemble) + 1,
        attempt=trouble.attempt + 1,  # goes on counting, so that the waits grow
        lock=None,
        built=(),
        first_failure=trouble.since,
    )
    message = "the sources are pinned anew"
    return stand(chain, Reason.ASSEMBLING, message, trouble=trouble, actions=(Create(job),))


def _jobs_of_key(chain: Chain, order: NextBuild) -> list[JobSeen]:
    """Of our storage alone: what another ensemble builds into another one does not arrive in ours."""
    return [
        job
        for job in chain.observation.jobs
        if job.labels.get(LABEL_ROLE) == "build"
        and job.labels.get(LABEL_STORAGE) == chain.context.storage_digest
        and job.annotations.get(ANNOTATION_KEY) == order.key
        and job.annotations.get(ANNOTATION_PROOF, "") == order.proof
    ]


def build_job_of(chain: Chain, order: NextBuild, *, after: datetime) -> JobSeen | None:
    """The newest build Job of a key. One that ended before the assembler looked is no news: the artifact was
    missing all the same.
    """
    fresh = [
        job
        for job in _jobs_of_key(chain, order)
        if not job.deleting and not (job.finished_at is not None and job.finished_at < after)
    ]
    return max(fresh, key=attempt_of, default=None)


def _try_again(chain: Chain, order: NextBuild, job: JobSeen, trouble: Trouble) -> bool:
    due = trouble.retry_at is not None and trouble.retry_at <= chain.observation.now
    context = _context(chain, order)
    return due or is_outdated(job, context) or is_elsewhere(job, context)


def _export(chain: Chain, order: NextBuild) -> Export | None:
    """The container that makes an artifact of kind export."""
    exports = dict(iter_exports(chain.desired.request.models))
    return exports[order.field] if order.kind == "export" else None


def _context(chain: Chain, order: NextBuild) -> JobContext:
    """An export has resources of its own; a change of them makes a Job outdated that waits for a node."""
    export = _export(chain, order)
    if export is None:
        return chain.context
    build = chain.context.build.model_copy(update={"resources": export.resources})
    return replace(chain.context, build=build)


def _new_build(
    chain: Chain, order: NextBuild, lock: str, *, after: JobSeen | None, since: datetime | None = None
) -> dict[str, object]:
    """The first build Job of a key, or the attempt after an earlier one."""
    targets = chain.desired.request.targets
    # What an export writes is for all targets: any GPU among theirs will do.
    target = next((t for t in targets if t.name == order.target or (not order.target and t.gpu)), None)
    return build_job(
        context=replace(_context(chain, order), tried=tried_settings(after) if after else ()),
        order=order,
        lock=lock,
        attempt=attempt_of(after) + 1 if after else 1,
        target=target,
        first_failure=since,
        export=_export(chain, order),
    )


def _next_round(chain: Chain, assemble: JobSeen, result: Result) -> BuildOutcome:
    number = round_of(assemble) + 1
    if _complete_rounds(chain) >= MAX_ROUNDS:
        trouble = Trouble(Reason.TOO_MANY_ROUNDS, f"still not complete after {MAX_ROUNDS} rounds of building")
        return replace(stand(chain, Reason.BUILDING, "", trouble=trouble), assembled=True)
    job = assemble_job(
        context=chain.context,
        inputs=chain.desired.inputs,
        number=number,
        attempt=1,
        lock=result.lock,
        built=tuple(sorted({*built_keys(chain, before=number)})),
        first_failure=None,
    )
    return replace(
        stand(chain, Reason.ASSEMBLING, "the revision is put together", actions=(Create(job),)),
        assembled=True,
        built=not result.more,
        decided=not result.more,
        warnings=result.warnings,
    )


def _complete_rounds(chain: Chain) -> int:
    """Rounds that named every build they knew of. The others end by themselves: each builds something, and
    what vanishes is ArtifactVanished.
    """
    jobs = assemble_jobs(chain.observation, chain.desired)
    verdicts = (judge(job, now=chain.observation.now) for job in jobs)
    return sum(isinstance(verdict, Succeeded) and not verdict.result.more for verdict in verdicts)
