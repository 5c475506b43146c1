"""Servers of a rollout that serves nobody yet: created, awaited, asked for real inferences."""

from __future__ import annotations

from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Create
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.failing import mark_failed
from ensemble_operator.plan.healing import heal_budgets, heal_deployments, heal_rollout_service
from ensemble_operator.plan.observation import RolloutSeen
from ensemble_operator.plan.provenance import provenance
from ensemble_operator.plan.replicas import Replicas, servers_before
from ensemble_operator.plan.serving_pods import pods_trouble, ready_everywhere, signalled
from ensemble_operator.plan.sharing import known_servers
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.plan.verifying import Verification, verification
from ensemble_operator.resources.history import controller_revision
from ensemble_operator.resources.rollout import ANNOTATION_APPROVED_BEFORE, RolloutData
from ensembles_api.names import ANNOTATION_PROMOTE
from ensembles_api.reasons import Nature, Reason


def bring_up(stage: Stage, *, servers: Replicas) -> ServeOutcome | None:
    """The next step towards `servers` verified servers of each target of the wanted rollout; None once they
    are there. Without any server wanted there is nothing to verify.
    """
    rollout = stage.rollout
    create: list[Action] = []
    if rollout is None:
        create.append(record(stage))
    create += _missing(stage, rollout.data if rollout else stage.wanted, servers=servers)
    if rollout is None or create:
        return stage.outcome(Reason.ROLLING_OUT, "new servers are started", *create)
    return _await(stage, rollout, servers=servers) if servers else None


def record(stage: Stage) -> Action:
    """The record of the wanted rollout, which is made before anything else of it."""
    before = history.find(stage.observation, stage.active) if stage.active else None
    return Create(
        controller_revision(
            owner=owner_of(stage.observation),
            data=stage.wanted,
            number=stage.next_number,
            provenance={
                **provenance(stage.observation, stage.wanted, before),
                **servers_before(stage.observation, stage.wanted),
                **_approved_before(stage),
            },
        )
    )


def _approved_before(stage: Stage) -> dict[str, str]:
    """An approval of a rollout that has yet to begin is of one that failed and is tried again."""
    approval = stage.observation.annotations.get(ANNOTATION_PROMOTE, "")
    return {ANNOTATION_APPROVED_BEFORE: approval} if approval.startswith(stage.hash) else {}


def hold(stage: Stage, servers: Replicas) -> ServeOutcome | None:
    """The next step towards `servers` of the wanted rollout, which was verified and gets requests; None where
    nothing is to be done, though they may not be ready. Servers that cannot work fail the rollout.
    """
    rollout = stage.rollout
    assert rollout is not None  # noqa: S101 - it gets requests
    trouble = pods_trouble(stage.observation, stage.hash)
    if trouble and is_their_fault(trouble):
        return mark_failed(stage, rollout, trouble)
    owner = owner_of(stage.observation)
    actions = [
        *heal_deployments(stage.observation, stage.config, owner, rollout.data, replicas=servers),
        *heal_budgets(stage.observation, owner, rollout.data, replicas=servers),
        *heal_rollout_service(stage.observation, owner, stage.hash),
    ]
    wake = known_servers(stage.observation, stage.hash).wake
    message = "the number of new servers changes"
    return stage.outcome(Reason.STEPPING, message, *actions, trouble=trouble, wake=wake) if actions else None


def _missing(stage: Stage, data: RolloutData, *, servers: Replicas) -> list[Action]:
    observation, owner = stage.observation, owner_of(stage.observation)
    actions = list(heal_deployments(observation, stage.config, owner, data, replicas=servers))
    actions += heal_rollout_service(observation, owner, stage.hash)
    if servers:
        check = verification(observation, stage.config, data, stage.hash, replicas=servers)
        if check.create is not None:
            actions.append(Create(check.create))
    return actions


def _await(stage: Stage, rollout: RolloutSeen, *, servers: Replicas) -> ServeOutcome | None:
    observation = stage.observation
    trouble = pods_trouble(observation, stage.hash, loading=True)
    if trouble and is_their_fault(trouble):
        return mark_failed(stage, rollout, trouble)
    check = verification(observation, stage.config, rollout.data, stage.hash, replicas=servers)
    if check.failed is not None and check.failed.nature is Nature.USER:
        return mark_failed(stage, rollout, check.failed)
    ready = ready_everywhere(observation, stage.hash, servers)
    return None if check.succeeded and ready else _waiting(stage, check, trouble, ready=ready)


def is_their_fault(trouble: Trouble) -> bool:
    """Whether servers in such trouble fail their rollout. A refused pod does not: its controller tries again,
    for an account that comes later, or a webhook that was away.
    """
    return trouble.nature is Nature.USER and trouble.reason is not Reason.INVALID_POD_SETTINGS


def _waiting(stage: Stage, check: Verification, trouble: Trouble | None, *, ready: bool) -> ServeOutcome:
    step = Reason.VERIFYING if ready else Reason.ROLLING_OUT
    message = (
        "the new servers are asked for real inferences"
        if ready
        else signalled(stage.observation, stage.hash) or "new servers fetch and load the revision"
    )
    return stage.outcome(step, message, trouble=trouble or check.failed or check.wait)
