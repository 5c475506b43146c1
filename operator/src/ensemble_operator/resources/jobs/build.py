"""The build Job of one artifact: fetch (with keys), compile or export (user code, no keys), upload (with
keys).

Beside the compile of an engine runs keep (with keys), a native sidecar: when the pod is stopped, upload never
starts, and keep saves what the build has measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ensemble_operator import names
from ensemble_operator.resources import gpu as gpus
from ensemble_operator.resources import pods
from ensemble_operator.resources.jobs.context import JobContext
from ensemble_operator.resources.jobs.export import export_container
from ensemble_operator.resources.jobs.manifest import attempt_annotations, job
from ensemble_operator.resources.owner import product_labels
from ensemble_operator.resources.pods import Json
from ensemble_operator.resources.quantities import TOOLS_REQUESTS, requirements
from ensemble_operator.resources.storage_access import StorageAccess, storage_access
from ensembles_api.contract import NextBuild, TargetRequest
from ensembles_api.names import LABEL_KEY
from ensembles_api.spec import Export, Gpu

WORK = "/work"
WORK_VOLUME = "work"
WORK_MOUNT = {"name": WORK_VOLUME, "mountPath": WORK}
WORKER_TMP = "compile-tmp"
"""The user's code has its own: upload, which has keys, must not see what it leaves in /tmp."""
COMPILE_REQUESTS = {"cpu": "500m", "memory": "1Gi"}
KEEP_REQUESTS = {"cpu": "10m", "memory": "64Mi"}
"""It waits."""
ENGINE_GRACE_SECONDS = 60
"""For the builder to end the step it is at, and for writing the timing cache to storage."""


def build_job(
    *,
    context: JobContext,
    order: NextBuild,
    lock: str,
    attempt: int,
    target: TargetRequest | None,
    first_failure: datetime | None,
    export: Export | None = None,
) -> dict[str, Any]:
    """The Job of `order.key`, shared by the ensembles of the namespace that have the same storage: key and
    storage alone name it.

    `target` is the one whose GPU the build needs. An `export` runs in the compiler's place.
    """
    gpu = _gpu(order, target)
    sources = storage_access(context.storage, source_secrets=context.source_secrets)
    storage = storage_access(context.storage)
    of_order = ["--storage", storage.location, "--lock", lock, "--key", order.key, "--work", WORK]
    of_order += ["--proof", order.proof] if order.proof else []
    fetch = _with_keys(context, "fetch", ["fetch", "build", *of_order], sources)
    upload = _with_keys(context, "upload", ["upload", *of_order], storage)
    worker = _worker(context, export, gpu)
    engine = order.kind == "tensorrt"
    return job(
        names.build_job(order.kind, order.key, order.proof, storage=context.storage_digest, attempt=attempt),
        namespace=context.owner.namespace,
        labels=product_labels(
            "build",
            **{LABEL_KEY: order.key[:20], names.LABEL_STORAGE: context.storage_digest},
            **_queue(context),
        ),
        annotations={
            names.ANNOTATION_KEY: order.key,
            **({names.ANNOTATION_PROOF: order.proof} if order.proof else {}),
            names.ANNOTATION_LOCK: lock,
            **attempt_annotations(attempt, first_failure),
            **context.settings_annotation(),
        },
        owners=[context.owner.reference(controller=False)],
        deadline=context.build.timeout_seconds,
        pod=pods.pod_spec(
            initContainers=[fetch, *([_keep(context, of_order, storage)] if engine else []), worker],
            containers=[upload],
            volumes=[
                pods.empty_dir(WORK_VOLUME),
                pods.empty_dir("tmp"),
                pods.empty_dir(WORKER_TMP),
                *sources.volumes,
            ],
            serviceAccountName=sources.service_account,
            imagePullSecrets=pods.pull_secrets(context.serving_pull_secrets),
            nodeSelector=gpus.node_selector(context.build.node_selector, gpu),
            tolerations=gpus.tolerations(context.build.tolerations, gpu),
            resourceClaims=gpus.claims(gpu),
            priorityClassName=context.build.priority_class_name,
            runtimeClassName=context.runtime_class_name if gpu else None,
            terminationGracePeriodSeconds=ENGINE_GRACE_SECONDS if engine else None,
        ),
        pod_annotations={pods.ANNOTATION_SKIP_IDENTITY: worker["name"]},
    )


def _queue(context: JobContext) -> dict[str, str]:
    """Kueue suspends a Job with this label until its queue has room."""
    named = {
        names.LABEL_QUEUE: context.build.queue_name,
        names.LABEL_QUEUE_PRIORITY: context.build.workload_priority_class_name,
    }
    return {label: name for label, name in named.items() if name}


def _with_keys(
    context: JobContext,
    name: str,
    args: Sequence[str],
    access: StorageAccess,
    requests: Mapping[str, str] = TOOLS_REQUESTS,
) -> Json:
    return pods.container(
        name,
        image=context.config.tools_image,
        pull_policy=context.config.image_pull_policy,
        command=[pods.BUILDER],
        args=args,
        resources=requirements(defaults=requests),
        env=access.env,
        mounts=[WORK_MOUNT, *access.mounts],
    )


def _keep(context: JobContext, of_order: Sequence[str], storage: StorageAccess) -> Json:
    """A sidecar among the init containers: upload still starts only when compile's container is gone."""
    args = ["keep", *of_order, "--grace", str(ENGINE_GRACE_SECONDS)]
    keep = _with_keys(context, names.KEEP_CONTAINER, args, storage, KEEP_REQUESTS)
    return {**keep, "restartPolicy": "Always"}


def _worker(context: JobContext, export: Export | None, gpu: Gpu | None) -> Json:
    """Where the user's code runs."""
    if export:
        return export_container(export, config=context.config, gpu=gpu, work=WORK_VOLUME, tmp=WORKER_TMP)
    return pods.container(
        "compile",
        image=context.builder_image,
        pull_policy=context.config.image_pull_policy,
        command=[pods.BUILDER],
        args=["compile", "--work", WORK],
        resources=requirements(defaults=COMPILE_REQUESTS, resources=context.build.resources, gpu=gpu),
        mounts=[WORK_MOUNT],
        tmp=WORKER_TMP,
    )


def _gpu(order: NextBuild, target: TargetRequest | None) -> Gpu | None:
    """One GPU of the target's type, however many a server of that target holds."""
    if not order.gpu:
        return None
    wanted = target.gpu if target and target.gpu else Gpu()
    return wanted.model_copy(update={"count": 1})
