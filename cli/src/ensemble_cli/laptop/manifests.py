"""The objects that the operator would serve a revision with, by the operator's own pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ensemble_cli.ensembles import Ensemble
from ensemble_cli.exits import CommandError, Exit
from ensemble_operator.config import OperatorConfig
from ensemble_operator.resources.budgets import disruption_budget
from ensemble_operator.resources.jobs.verify import verify_job
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.rollout import RolloutData
from ensemble_operator.resources.servers import server_deployment, server_selector
from ensemble_operator.resources.services import rollout_service, service
from ensembles_api.contract import Manifest, Request
from ensembles_api.names import LABEL_TARGET

UNKNOWN_UID = "00000000-0000-0000-0000-000000000000"


def manifests(
    ensemble: Ensemble, request: Request, manifest: Manifest, *, revision: str, tools_image: str, uid: str
) -> Iterator[dict[str, Any]]:
    """Service, and of the rollout: servers, budgets, headless Service and the Job that verifies.

    Args:
        ensemble: the resource.
        request: as it was built.
        manifest: of the published revision.
        revision: its digest.
        tools_image: the operator's.
        uid: metadata.uid of the resource, part of the rollout's hash in every name.

    Raises:
        CommandError: the server's image is not known.
    """
    if not request.server_image:
        raise CommandError(
            "the images of a release are known to the operator alone",
            cure="give --server-image (the operator's release table has it)",
            status=Exit.USAGE,
        )
    spec = ensemble.spec
    config = OperatorConfig(tools_image=tools_image)
    owner = Owner(ensemble.namespace, ensemble.name, uid)
    data = RolloutData(
        uid=uid,
        inputs="",
        revision=revision,
        lock="",
        storage=spec.storage,
        server_image=request.server_image,
        tools_image=tools_image,
        image_pull_policy=config.image_pull_policy,
        serving=spec.serving,
        verify_seconds=spec.rollout.verify_seconds,
        targets=request.targets,
        server=manifest.server,
    )
    rollout = data.rollout_hash()
    selector = server_selector(owner, rollout, request.targets[0].name)
    selector.pop(LABEL_TARGET)
    sticky = manifest.server.sticky_sessions
    yield service(owner=owner, selector=selector, annotations={}, sticky=sticky)
    yield rollout_service(owner=owner, rollout=rollout)
    for target in request.targets:
        yield server_deployment(
            owner=owner,
            data=data,
            rollout=rollout,
            target=target,
            tools_image=tools_image,
            replicas=spec.serving.replicas,
        )
        if spec.serving.replicas > 1:
            yield disruption_budget(owner=owner, rollout=rollout, target=target)
    yield verify_job(owner=owner, data=data, config=config, attempt=1, first_failure=None)
