"""The verify Job: asks the servers of one rollout, and no others, for real inferences."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ensemble_operator import names
from ensemble_operator.config import OperatorConfig
from ensemble_operator.resources import pods
from ensemble_operator.resources.jobs.manifest import attempt_annotations, job
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.pods import Json
from ensemble_operator.resources.quantities import TOOLS_REQUESTS, requirements
from ensemble_operator.resources.revision_files import fetch_revision
from ensemble_operator.resources.rollout import RolloutData
from ensemble_operator.resources.storage_access import storage_access
from ensembles_api.names import LABEL_ROLLOUT

FILES = "/verification"
DEADLINE_MARGIN_SECONDS = 300
"""For pulling the image and fetching; then verify gives up by itself and says why."""


def verify_job(
    *,
    owner: Owner,
    data: RolloutData,
    config: OperatorConfig,
    attempt: int,
    first_failure: datetime | None,
    servers: int | None = None,
) -> dict[str, Any]:
    """Created together with the Deployments: it waits until every one of their replicas answers.

    `servers` is their number now; by default, what it was when the rollout was made.
    """
    rollout = data.rollout_hash()
    access = storage_access(data.storage)
    tools: Json = {
        "image": config.tools_image,
        "pull_policy": config.image_pull_policy,
        "command": [pods.BUILDER],
        "resources": requirements(defaults=TOOLS_REQUESTS),
    }
    files = {"name": "files", "mountPath": FILES}
    # The cases are those of the models: every target has the same ones.
    fetch = fetch_revision(owner=owner, data=data, target=data.targets[0], to=FILES, only="verification")
    expected = data.serving.replicas * len(data.targets) if servers is None else servers
    host = names.rollout_host(owner.name, rollout, owner.namespace, config.cluster_domain)
    verify = ["verify", "--host", host]
    verify += ["--replicas", str(max(expected, len(data.targets))), "--files", FILES]
    verify += ["--entrypoint", data.server.entrypoint, "--timeout", str(data.verify_seconds)]
    verify += ["--storage", access.location, "--ensemble", f"{owner.namespace}/{owner.name}"]
    verify += ["--revision", data.revision, "--rollout", rollout, "--attempt", str(attempt)]
    fetching = pods.container("fetch", args=fetch, env=access.env, mounts=[files, *access.mounts], **tools)
    # It stores the report, and runs nobody's code.
    verifying = pods.container(
        "verify", args=verify, env=access.env, mounts=[{**files, "readOnly": True}, *access.mounts], **tools
    )
    return job(
        names.verify_job(owner.name, rollout, attempt=attempt),
        namespace=owner.namespace,
        labels=owner.labels("verify", **{LABEL_ROLLOUT: rollout, names.LABEL_INPUTS: data.inputs[:16]}),
        annotations={
            names.ANNOTATION_INPUTS: data.inputs,
            names.ANNOTATION_LOCK: data.lock,
            **attempt_annotations(attempt, first_failure),
        },
        owners=[owner.reference()],
        deadline=data.verify_seconds + DEADLINE_MARGIN_SECONDS,
        pod=pods.pod_spec(
            initContainers=[fetching],
            containers=[verifying],
            volumes=[pods.empty_dir("files"), pods.empty_dir("tmp"), *access.volumes],
            serviceAccountName=access.service_account,
            imagePullSecrets=pods.pull_secrets(data.serving.image_pull_secrets),
            tolerations=data.serving.tolerations,
        ),
    )
