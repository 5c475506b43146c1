"""Lane A: which revision is wanted? Assemble, build what is missing, assemble again until there is one."""

from __future__ import annotations

import json
from dataclasses import replace

from ensemble_operator.config import OperatorConfig
from ensemble_operator.names import ANNOTATION_LOCK
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Annotate, Create, Delete
from ensemble_operator.plan.build_states import build_states, note_of, noted_states
from ensemble_operator.plan.builds import build_missing, pin_again
from ensemble_operator.plan.chain import (
    BuildOutcome,
    BuildState,
    Chain,
    assemble_jobs,
    built_keys,
    job_context,
    round_of,
    stand,
)
from ensemble_operator.plan.desired import Desired
from ensemble_operator.plan.jobs import (
    Failed,
    Running,
    Succeeded,
    attempt_of,
    is_outdated,
    judge,
    tried_settings,
)
from ensemble_operator.plan.observation import JobSeen, Observation, RolloutSeen
from ensemble_operator.plan.pruning import removal
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import assemble_job
from ensemble_operator.resources.request import request_config_map
from ensemble_operator.resources.rollout import (
    ANNOTATION_ALSO_INPUTS,
    ANNOTATION_BUILDS,
    ANNOTATION_OUTCOME,
    ANNOTATION_WARNINGS,
    RolloutData,
)
from ensembles_api.contract import Result, TargetRequest
from ensembles_api.reasons import Reason
from ensembles_api.spec import Gpu

MAX_ALSO_INPUTS = 32
"""So many inputs digests that give one revision are remembered; older ones are assembled again."""


def build(observation: Observation, desired: Desired, config: OperatorConfig) -> BuildOutcome:
    """One step of lane A for these inputs."""
    chain = Chain(observation, desired, config, job_context(observation, desired, config))
    known = _known_revision(observation, desired)
    if known is not None:
        return _published(chain, known)
    outcome = _round(chain)
    actions = (*_missing_request(chain), *outcome.actions)
    return replace(outcome, actions=actions, builds=build_states(chain), anew=_asked_for_builds(chain))


def _asked_for_builds(chain: Chain) -> bool:
    """Whether the assembler has found artifacts missing, in whichever round, though they are built since."""
    jobs = assemble_jobs(chain.observation, chain.desired)
    verdicts = (judge(job, now=chain.observation.now) for job in jobs)
    return any(isinstance(verdict, Succeeded) and bool(verdict.result.next) for verdict in verdicts)


def _published(chain: Chain, known: RolloutSeen) -> BuildOutcome:
    observation, desired = chain.observation, chain.desired
    told = _told_by_jobs(chain, known)
    warnings, builds = told or (history.warnings_of(known), noted_states(known))
    noted = (history.warnings_of(known), noted_states(known)) == (warnings, builds)
    return BuildOutcome(
        Reason.PUBLISHED,
        f"revision {known.data.revision[:12]} is published",
        wanted=_rollout_data(observation, desired, chain.config, known.data),
        actions=() if noted else (_note(known, warnings, builds),),
        assembled=True,
        built=True,
        builds=builds,
        warnings=warnings,
        kept_jobs=frozenset(job.name for job in assemble_jobs(observation, desired)),
    )


def _told_by_jobs(chain: Chain, known: RolloutSeen) -> tuple[tuple[str, ...], tuple[BuildState, ...]] | None:
    """What the assembler said of the revision, and what it found and asked for; None once its Job is gone."""
    jobs = assemble_jobs(chain.observation, chain.desired)
    for job in sorted(jobs, key=lambda j: (round_of(j), attempt_of(j)))[-1:]:
        verdict = judge(job, now=chain.observation.now)
        if isinstance(verdict, Succeeded) and verdict.result.revision == known.data.revision:
            return verdict.result.warnings, build_states(chain)
    return None


def _note(rollout: RolloutSeen, warnings: tuple[str, ...], builds: tuple[BuildState, ...]) -> Action:
    note = {ANNOTATION_WARNINGS: json.dumps(warnings), ANNOTATION_BUILDS: note_of(builds)}
    return Annotate("ControllerRevision", rollout.name, rollout.uid, note)


def _missing_request(chain: Chain) -> tuple[Action, ...]:
    """Every assemble Job mounts the request, those of later rounds as well."""
    document = request_config_map(
        owner=chain.context.owner, inputs=chain.desired.inputs, request=chain.desired.request
    )
    name = document["metadata"]["name"]
    there = any(seen.name == name and not seen.deleting for seen in chain.observation.requests)
    return () if there else (Create(document),)


def _known_revision(observation: Observation, desired: Desired) -> RolloutSeen | None:
    same = [
        rollout
        for rollout in observation.rollouts
        if desired.inputs in history.inputs_of(rollout) and history.outcome(rollout) != history.PRUNING
    ]
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


def _round(chain: Chain) -> BuildOutcome:
    jobs = assemble_jobs(chain.observation, chain.desired)
    if not jobs:
        return _start(chain)
    # Earlier rounds stay for their logs; the newest attempt of the newest round decides.
    chain = chain.keep(*(job.name for job in jobs if round_of(job) < max(map(round_of, jobs))))
    job = max(jobs, key=lambda j: (round_of(j), attempt_of(j)))
    chain = chain.keep(job.name)
    verdict = judge(job, now=chain.observation.now)
    outdated = is_outdated(job, chain.context)
    if isinstance(verdict, Running) and verdict.wait and outdated:
        return _retry_assemble(chain, job, replace(verdict.wait, retry_at=chain.observation.now))
    if isinstance(verdict, Running):
        return stand(chain, Reason.ASSEMBLING, "sources are being pinned and checked", trouble=verdict.wait)
    if isinstance(verdict, Failed):
        at_once = replace(verdict.trouble, retry_at=chain.observation.now)
        return _retry_assemble(chain, job, at_once if outdated else verdict.trouble)
    result = verdict.result
    if result.revision:
        data = _rollout_data(chain.observation, chain.desired, chain.config, result)
        return replace(
            stand(
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
    return build_missing(chain, job, result)


def _remember(chain: Chain, result: Result) -> tuple[Action, ...]:
    """Other inputs gave a revision that a rollout has already: note it, or they are assembled for ever."""
    same = [
        rollout
        for rollout in chain.observation.rollouts
        if (rollout.data.revision, rollout.data.server) == (result.revision, result.server)
    ]
    # The revision has just been published: what was removed of it is there again.
    whole = tuple(
        Annotate("ControllerRevision", rollout.name, rollout.uid, {ANNOTATION_OUTCOME: history.SUPERSEDED})
        for rollout in same
        if history.outcome(rollout) == history.PRUNING
    )
    newest = max(same, key=lambda rollout: rollout.number, default=None)
    if newest is None or any(chain.desired.inputs in history.inputs_of(rollout) for rollout in same):
        return whole
    known = (*history.inputs_of(newest)[1:], chain.desired.inputs)[-MAX_ALSO_INPUTS:]
    note = {ANNOTATION_ALSO_INPUTS: " ".join(known)}
    return (*whole, Annotate("ControllerRevision", newest.name, newest.uid, note))


def _start(chain: Chain) -> BuildOutcome:
    removing = removal(chain.observation)
    if removing is not None:
        return _after_removal(chain, removing)
    job = assemble_job(
        context=chain.context,
        inputs=chain.desired.inputs,
        number=1,
        attempt=1,
        lock=None,
        built=(),
        first_failure=None,
    )
    return stand(
        chain,
        Reason.ASSEMBLING,
        "sources are being pinned and checked",
        actions=(Create(job),),
    )


def _after_removal(chain: Chain, removing: JobSeen) -> BuildOutcome:
    """What is published may be what is being removed: one after the other. A removal that cannot even begin
    is put off instead.
    """
    verdict = judge(removing, now=chain.observation.now)
    waits = isinstance(verdict, Running) and verdict.wait is not None
    return stand(
        chain,
        Reason.ASSEMBLING,
        "older revisions are being removed from storage first",
        actions=(Delete("Job", removing.name, removing.uid),) if waits else (),
    )


def _retry_assemble(chain: Chain, job: JobSeen, trouble: Trouble) -> BuildOutcome:
    if trouble.retry_at is None or trouble.retry_at > chain.observation.now:
        return stand(chain, Reason.ASSEMBLING, "assembling failed", trouble=trouble)
    if trouble.reason is Reason.LOCK_VANISHED:
        return pin_again(chain, job, trouble)
    vanished = trouble.reason is Reason.ARTIFACT_VANISHED
    again = assemble_job(
        context=replace(chain.context, tried=tried_settings(job)),
        inputs=chain.desired.inputs,
        number=round_of(job),
        attempt=attempt_of(job) + 1,
        lock=job.annotations.get(ANNOTATION_LOCK) or None,
        # What vanished must be built again, so this attempt expects nothing to be there.
        built=() if vanished else built_keys(chain, before=round_of(job)),
        first_failure=trouble.since,
    )
    return stand(
        chain, Reason.ASSEMBLING, f"attempt {attempt_of(job) + 1}", trouble=trouble, actions=(Create(again),)
    )
