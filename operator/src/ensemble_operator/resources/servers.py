"""The Deployments of one rollout: one per target, written once.

What these functions render is pinned by golden files: an update of the operator must not restart servers.
"""

from __future__ import annotations

from typing import Any

from ensemble_operator import names
from ensemble_operator.resources import gpu as gpus
from ensemble_operator.resources import http_proxy, pods, tritonserver
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.pods import Json
from ensemble_operator.resources.quantities import TOOLS_REQUESTS, requirements
from ensemble_operator.resources.revision_files import fetch_revision
from ensemble_operator.resources.rollout import RolloutData
from ensemble_operator.resources.storage_access import StorageAccess, storage_access
from ensembles_api.contract import TargetRequest
from ensembles_api.names import LABEL_ENSEMBLE, LABEL_ROLE, LABEL_ROLLOUT, LABEL_TARGET
from ensembles_api.plugins import plugin_arguments

SERVER_REQUESTS = {"cpu": "250m", "memory": "512Mi"}
FETCH = "fetch"
"""The init container that brings the files."""
NEVER = 2**31 - 1
"""progressDeadlineSeconds that the Deployment controller takes for none: the operator judges by itself."""
ANNOTATION_REVISION = "ensembles.dev/revision"


def server_selector(owner: Owner, rollout: str, target: str) -> dict[str, str]:
    """Labels of the pods of one Deployment."""
    return {
        LABEL_ENSEMBLE: owner.name,
        LABEL_ROLE: "server",
        LABEL_ROLLOUT: rollout,
        LABEL_TARGET: target,
    }


def server_deployment(
    *, owner: Owner, data: RolloutData, rollout: str, target: TargetRequest, tools_image: str, replicas: int
) -> dict[str, Any]:
    """The Deployment of one target of the rollout.

    `tools_image` fetches the files, and is the HTTP proxy. It may be another than the rollout began with: a
    registry need not keep the images of every operator there ever was, and the bytes are checked whoever
    brings them.
    """
    selector = server_selector(owner, rollout, target.name)
    labels = {**owner.labels("server"), **selector}
    revision = {ANNOTATION_REVISION: data.revision}
    access = storage_access(data.storage)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owner.metadata(
            names.deployment(owner.name, rollout, target.name), labels=labels, annotations=revision
        ),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": NEVER,
            "selector": {"matchLabels": selector},
            # Only a hand-made edit is ever rolled back by this; it must not cost a serving pod.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {
                    "labels": {**data.serving.pod_labels, **labels},
                    "annotations": {**data.serving.pod_annotations, **_identity_annotation(data), **revision},
                },
                "spec": _pod(
                    owner=owner,
                    data=data,
                    target=target,
                    tools_image=tools_image,
                    selector=selector,
                    access=access,
                ),
            },
        },
    }


def _identity_annotation(data: RolloutData) -> dict[str, str]:
    """Keeps storage's identity out of tritonserver; an account chosen for serving is the user's to use."""
    if data.storage.identity and not data.serving.service_account_name:
        proxy = [http_proxy.CONTAINER] if data.serving.http_proxy.enabled else []
        return {pods.ANNOTATION_SKIP_IDENTITY: ",".join([tritonserver.CONTAINER, *proxy])}
    return {}


def _pod(
    *,
    owner: Owner,
    data: RolloutData,
    target: TargetRequest,
    tools_image: str,
    selector: dict[str, str],
    access: StorageAccess,
) -> Json:
    serving = data.serving
    proxy = [http_proxy.http_proxy(data=data, image=tools_image)] if serving.http_proxy.enabled else []
    return pods.pod_spec(
        initContainers=[_fetch(owner=owner, data=data, target=target, image=tools_image, access=access)],
        containers=[_tritonserver(data=data, target=target), *proxy],
        volumes=[
            pods.empty_dir("models"),
            pods.empty_dir("fetch-tmp"),
            pods.empty_dir("tmp"),
            pods.empty_dir("shm", limit=f"{max(64, data.server.shared_memory_mib)}Mi", memory=True),
            *access.volumes,
        ],
        terminationGracePeriodSeconds=tritonserver.Shutdown(serving.drain_seconds).grace_seconds,
        # The identity's token is one of the pod's account: where both are set, the role must trust this one.
        serviceAccountName=serving.service_account_name or access.service_account,
        imagePullSecrets=pods.pull_secrets(serving.image_pull_secrets),
        nodeSelector=gpus.node_selector(serving.node_selector, target.gpu),
        tolerations=gpus.tolerations(serving.tolerations, target.gpu),
        resourceClaims=gpus.claims(target.gpu),
        affinity=serving.affinity,
        topologySpreadConstraints=[
            {"labelSelector": {"matchLabels": selector}, **constraint}
            for constraint in serving.topology_spread_constraints
        ],
        priorityClassName=serving.priority_class_name,
        runtimeClassName=serving.runtime_class_name,
    )


def _fetch(
    *, owner: Owner, data: RolloutData, target: TargetRequest, image: str, access: StorageAccess
) -> Json:
    return pods.container(
        FETCH,
        image=image,
        pull_policy=data.image_pull_policy,
        command=[pods.BUILDER],
        args=fetch_revision(owner=owner, data=data, target=target, to=tritonserver.FILES, only="models"),
        resources=requirements(defaults=TOOLS_REQUESTS),
        env=access.env,
        mounts=[{"name": "models", "mountPath": tritonserver.FILES}, *access.mounts],
        tmp="fetch-tmp",
    )


def _tritonserver(*, data: RolloutData, target: TargetRequest) -> Json:
    serving = data.serving
    main = pods.container(
        tritonserver.CONTAINER,
        image=data.server_image,
        pull_policy=data.image_pull_policy,
        command=["tritonserver"],
        args=tritonserver.arguments(
            drain_seconds=serving.drain_seconds,
            behind_proxy=serving.http_proxy.enabled,
            derived=[*data.server.args, *plugin_arguments(data.server.plugins, folder=tritonserver.FILES)],
            extra=serving.extra_args,
        ),
        resources=requirements(defaults=SERVER_REQUESTS, resources=serving.resources, gpu=target.gpu),
        mounts=[
            {"name": "models", "mountPath": tritonserver.FILES, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - of the container
        ],
    )
    return {
        **main,
        "ports": tritonserver.container_ports(behind_proxy=serving.http_proxy.enabled),
        "lifecycle": tritonserver.Shutdown(serving.drain_seconds).lifecycle(),
        **tritonserver.probes(
            startup_seconds=serving.startup_seconds, behind_proxy=serving.http_proxy.enabled
        ),
    }
