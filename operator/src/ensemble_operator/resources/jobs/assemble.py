"""The assemble Job: pins sources, says what must be built, publishes the revision once nothing is missing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ensemble_operator import names
from ensemble_operator.resources import pods
from ensemble_operator.resources.jobs.context import JobContext
from ensemble_operator.resources.jobs.manifest import attempt_annotations, job
from ensemble_operator.resources.pods import Json
from ensemble_operator.resources.quantities import requirements
from ensemble_operator.resources.request import REQUEST_FILE
from ensemble_operator.resources.storage_access import storage_access

DEADLINE_SECONDS = 7200
"""Long: it reads every source that is not yet known by digest."""
REQUEST_FOLDER = "/request"
CONFIG_MAPS_FOLDER = "/configmaps"


def assemble_job(
    *,
    context: JobContext,
    inputs: str,
    number: int,
    attempt: int,
    lock: str | None,
    built: tuple[str, ...],
    first_failure: datetime | None,
) -> dict[str, Any]:
    """Round `number` of the chain for `inputs`.

    `lock` is the digest of the chain's lock, None in the first round, which writes it. `built` are the keys
    that this chain has built already, and that must therefore be found.
    """
    owner = context.owner
    access = storage_access(context.storage, source_secrets=context.source_secrets)
    request = {"name": "request", "configMap": {"name": names.request(owner.name, inputs)}}
    volumes, mounts = _config_maps(context.config_maps)
    args = ["assemble", "--request", f"{REQUEST_FOLDER}/{REQUEST_FILE}"]
    args += ["--configmaps", CONFIG_MAPS_FOLDER, "--storage", access.location]
    args += ["--lock", lock] if lock else []
    args += ["--built", *built] if built else []
    main = pods.container(
        "assemble",
        image=context.config.tools_image,
        pull_policy=context.config.image_pull_policy,
        command=[pods.BUILDER],
        args=args,
        resources=requirements(defaults={"cpu": "100m", "memory": "256Mi"}),
        env=access.env,
        mounts=[
            {"name": "request", "mountPath": REQUEST_FOLDER, "readOnly": True},
            *mounts,
            *access.mounts,
        ],
    )
    return job(
        names.assemble_job(owner.name, inputs, number=number, attempt=attempt),
        namespace=owner.namespace,
        labels=owner.labels("assemble", **{names.LABEL_INPUTS: inputs[:16]}),
        annotations={
            names.ANNOTATION_INPUTS: inputs,
            names.ANNOTATION_ROUND: str(number),
            **({names.ANNOTATION_LOCK: lock} if lock else {}),
            **attempt_annotations(attempt, first_failure),
            **context.settings_annotation(),
        },
        owners=[owner.reference()],
        deadline=DEADLINE_SECONDS,
        pod=pods.pod_spec(
            containers=[main],
            volumes=[pods.empty_dir("tmp"), request, *volumes, *access.volumes],
            serviceAccountName=access.service_account,
            imagePullSecrets=pods.pull_secrets(context.serving_pull_secrets),
            tolerations=context.build.tolerations,
        ),
    )


def _config_maps(named: Mapping[str, tuple[str, ...]]) -> tuple[list[Json], list[Json]]:
    """Volumes and mounts of the user's ConfigMaps, by name and keys."""
    # Keys become file names, and an absent one is the assembler's to report: it knows the field.
    volumes: list[Json] = [
        {
            "name": f"configmap-{index}",
            "configMap": {
                "name": name,
                "items": [{"key": key, "path": key} for key in keys],
                "optional": True,
            },
        }
        for index, (name, keys) in enumerate(sorted(named.items()))
    ]
    mounts: list[Json] = [
        {"name": f"configmap-{index}", "mountPath": f"{CONFIG_MAPS_FOLDER}/{name}", "readOnly": True}
        for index, name in enumerate(sorted(named))
    ]
    return volumes, mounts
