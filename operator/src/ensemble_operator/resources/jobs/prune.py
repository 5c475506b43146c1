"""The prune Job: deletes revisions that history no longer holds, or all of an ensemble's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ensemble_operator import names
from ensemble_operator.resources import pods
from ensemble_operator.resources.jobs.context import JobContext
from ensemble_operator.resources.jobs.manifest import attempt_annotations, job
from ensemble_operator.resources.quantities import TOOLS_REQUESTS, requirements
from ensemble_operator.resources.storage_access import storage_access

DEADLINE_SECONDS = 3600


def prune_job(
    *,
    context: JobContext,
    token: str,
    remove: tuple[str, ...] | None,
    attempt: int,
    first_failure: datetime | None,
    owned: bool,
) -> dict[str, Any]:
    """Delete the revisions `remove` of the ensemble; None deletes all.

    `token` stands for that set in the Job's name and its inputs annotation. The Job is not `owned` when the
    ensemble is being deleted: its children are gone before its revisions are.
    """
    owner = context.owner
    access = storage_access(context.storage)
    what = ["--all"] if remove is None else ["--remove", ",".join(sorted(remove))]
    # The uid guards what another resource of the same name, in another cluster, has in the same storage.
    of_ensemble = ["--ensemble", f"{owner.namespace}/{owner.name}", "--uid", owner.uid]
    main = pods.container(
        "prune",
        image=context.config.tools_image,
        pull_policy=context.config.image_pull_policy,
        command=[pods.BUILDER],
        args=["prune", "--storage", access.location, *of_ensemble, *what],
        resources=requirements(defaults=TOOLS_REQUESTS),
        env=access.env,
        mounts=access.mounts,
    )
    return job(
        names.prune_job(owner.name, token, attempt=attempt),
        namespace=owner.namespace,
        labels=owner.labels("prune"),
        annotations={names.ANNOTATION_INPUTS: token, **attempt_annotations(attempt, first_failure)},
        owners=[owner.reference()] if owned else [],
        deadline=DEADLINE_SECONDS,
        pod=pods.pod_spec(
            containers=[main],
            volumes=[pods.empty_dir("tmp"), *access.volumes],
            serviceAccountName=access.service_account,
            imagePullSecrets=pods.pull_secrets(context.serving_pull_secrets),
            tolerations=context.build.tolerations,
        ),
    )
