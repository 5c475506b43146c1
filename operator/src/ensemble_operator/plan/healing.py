"""A rollout's objects as they should be against what they are: missing ones created, edited ones put back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ensemble_operator import names
from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Apply, Create, Delete, Scale
from ensemble_operator.plan.observation import IMAGE_REASONS, DeploymentSeen, Observation, PodSeen
from ensemble_operator.plan.replicas import Replicas
from ensemble_operator.resources import http_proxy
from ensemble_operator.resources.budgets import disruption_budget
from ensemble_operator.resources.drift import covers, selects_more
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.rollout import RENDERER_VERSION, RolloutData
from ensemble_operator.resources.servers import FETCH, server_deployment
from ensemble_operator.resources.services import rollout_service, service
from ensembles_api.names import LABEL_ENSEMBLE, LABEL_ROLE, LABEL_ROLLOUT


def heal_deployments(
    observation: Observation,
    config: OperatorConfig,
    owner: Owner,
    data: RolloutData,
    *,
    replicas: Replicas | None,
    ended: frozenset[str] = frozenset(),
) -> Iterator[Action]:
    """Create, put back and scale the Deployments of one rollout. `replicas` None leaves the number alone; the
    targets `ended` have none.
    """
    rollout = data.rollout_hash()
    seen = {deployment.name: deployment for deployment in observation.deployments}
    for target in data.targets:
        live = seen.get(names.deployment(observation.name, rollout, target.name))
        wanted = _wanted(target.name, replicas, ended)
        manifest = server_deployment(
            owner=owner,
            data=data,
            rollout=rollout,
            target=target,
            tools_image=_tools_image(live) or config.tools_image,
            replicas=data.serving.replicas if wanted is None else wanted,
        )
        if live is None or live.deleting:
            yield Create(manifest)
            continue
        if data.renderer == RENDERER_VERSION and not covers(
            live.manifest, manifest, ignore=frozenset({"spec.replicas"})
        ):
            yield Apply(_without_replicas(manifest))
        if wanted is not None and live.replicas != wanted:
            yield Scale(live.name, wanted)


def _wanted(target: str, replicas: Replicas | None, ended: frozenset[str]) -> int | None:
    if target in ended:
        return 0
    return None if replicas is None else replicas.of(target)


def _tools_image(live: DeploymentSeen | None) -> str | None:
    """The image that fetches the files and holds the HTTP proxy, as it is: one that a newer operator would
    not choose is no reason to restart servers, unless it cannot be pulled any more.
    """
    if live is None or any(_lacks_tools(pod) for pod in live.pods):
        return None
    init = live.manifest["spec"]["template"]["spec"].get("initContainers") or ()
    return next((container.get("image") for container in init if container["name"] == FETCH), None)


def _lacks_tools(pod: PodSeen) -> bool:
    found = (pod.container(name) for name in (FETCH, http_proxy.CONTAINER))
    return any(each is not None and each.waiting_reason in IMAGE_REASONS for each in found)


def _without_replicas(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = {key: value for key, value in manifest["spec"].items() if key != "replicas"}
    return {**manifest, "spec": spec}


def heal_budgets(
    observation: Observation, owner: Owner, data: RolloutData, *, replicas: Replicas | None
) -> Iterator[Action]:
    """One PodDisruptionBudget per target while there is more than one replica."""
    count = data.serving.replicas if replicas is None else replicas.floor
    seen = {budget.name: budget for budget in observation.budgets}
    for target in data.targets:
        wanted = disruption_budget(owner=owner, rollout=data.rollout_hash(), target=target)
        live = seen.get(wanted["metadata"]["name"])
        if count <= 1:
            if live is not None and not live.deleting:
                yield Delete("PodDisruptionBudget", live.name, live.uid)
        elif live is None:
            yield Create(wanted)
        elif not covers(live.manifest, wanted):
            yield Apply(wanted)


def heal_rollout_service(observation: Observation, owner: Owner, rollout: str) -> Iterator[Action]:
    """The headless Service by which verification and analysis find the servers of one rollout."""
    wanted = rollout_service(owner=owner, rollout=rollout)
    name = wanted["metadata"]["name"]
    live = next((seen for seen in observation.services if seen.name == name and not seen.deleting), None)
    if live is None:
        yield Create(wanted)
    elif not covers(live.manifest, wanted) or selects_more(live.manifest, wanted):
        yield Apply(wanted)


def main_service_manifest(
    observation: Observation, owner: Owner, data: RolloutData, *, active: str
) -> dict[str, Any]:
    """The Service on one rollout."""
    return service(
        owner=owner,
        selector={LABEL_ENSEMBLE: observation.name, LABEL_ROLE: "server", LABEL_ROLLOUT: active},
        annotations={names.ANNOTATION_ACTIVE: active},
        sticky=data.server.sticky_sessions,
    )


def overlap_manifest(
    observation: Observation, owner: Owner, data: RolloutData, *, active: str, following: str, since: datetime
) -> dict[str, Any]:
    """The Service on every server of the ensemble, for the moment in which one rollout follows another."""
    return service(
        owner=owner,
        selector={LABEL_ENSEMBLE: observation.name, LABEL_ROLE: "server"},
        annotations={
            names.ANNOTATION_ACTIVE: active,
            names.ANNOTATION_NEXT: following,
            names.ANNOTATION_OVERLAP_SINCE: since.isoformat(),
        },
        sticky=data.server.sticky_sessions,
    )


def heal_service(
    observation: Observation, owner: Owner, data: RolloutData, *, active: str
) -> Iterator[Action]:
    live = history.main_service(observation)
    following = live.annotations.get(names.ANNOTATION_NEXT) if live else None
    since = history.moment(live.annotations.get(names.ANNOTATION_OVERLAP_SINCE)) if live else None
    if following and since:
        wanted = overlap_manifest(observation, owner, data, active=active, following=following, since=since)
    else:
        wanted = main_service_manifest(observation, owner, data, active=active)
    if live is None:
        yield Create(wanted)
    elif not covers(live.manifest, wanted) or selects_more(live.manifest, wanted):
        yield Apply(wanted)


def deployments_of(observation: Observation, rollout: str) -> list[DeploymentSeen]:
    return [d for d in observation.deployments if d.labels.get(LABEL_ROLLOUT) == rollout and not d.deleting]
