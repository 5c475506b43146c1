"""Servers of a rollout that serves nobody yet: created, awaited, asked for real inferences."""

from __future__ import annotations

from typing import Any

from ensemble_operator import names
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Create
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.failing import mark_failed
from ensemble_operator.plan.healing import heal_deployments
from ensemble_operator.plan.observation import RolloutSeen
from ensemble_operator.plan.provenance import provenance
from ensemble_operator.plan.replicas import Replicas, servers_before
from ensemble_operator.plan.serving_pods import pods_trouble, ready_everywhere
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.plan.verifying import Verification, verification
from ensemble_operator.resources.history import controller_revision
from ensemble_operator.resources.rollout import RolloutData
from ensemble_operator.resources.services import rollout_service
from ensembles_api.reasons import Nature, Reason


def bring_up(stage: Stage, *, servers: Replicas) -> ServeOutcome | None:
    """The next step towards so many verified servers of the wanted rollout; None once they are there.

    Without any server wanted there is nothing to verify.
    """
    rollout = stage.rollout
    create: list[Action] = []
    if rollout is None:
        create.append(Create(_record(stage)))
    create += _missing(stage, rollout.data if rollout else stage.wanted, servers=servers)
    if rollout is None or create:
        return stage.outcome(Reason.ROLLING_OUT, "new servers are started", *create)
    return _await(stage, rollout, servers=servers) if servers else None


def _record(stage: Stage) -> dict[str, Any]:
    before = history.find(stage.observation, stage.active) if stage.active else None
    return controller_revision(
        owner=owner_of(stage.observation),
        data=stage.wanted,
        number=stage.next_number,
        provenance={
            **provenance(stage.observation, stage.wanted, before),
            **servers_before(stage.observation),
        },
    )


def _missing(stage: Stage, data: RolloutData, *, servers: Replicas) -> list[Action]:
    observation, owner = stage.observation, owner_of(stage.observation)
    actions = list(heal_deployments(observation, stage.config, owner, data, replicas=servers))
    name = names.rollout(observation.name, stage.hash)
    if not any(service.name == name for service in observation.services):
        actions.append(Create(rollout_service(owner=owner, rollout=stage.hash)))
    if servers:
        check = verification(observation, stage.config, data, stage.hash, replicas=servers)
        if check.create is not None:
            actions.append(Create(check.create))
    return actions


def _await(stage: Stage, rollout: RolloutSeen, *, servers: Replicas) -> ServeOutcome | None:
    observation = stage.observation
    trouble = pods_trouble(observation, stage.hash)
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
        else "new servers fetch and load the revision"
    )
    return stage.outcome(step, message, trouble=trouble or check.failed or check.wait)
