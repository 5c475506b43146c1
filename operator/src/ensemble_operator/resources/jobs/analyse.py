"""The analyse Job: compares the servers of one rollout with those of another while clients ask both."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ensemble_operator import names
from ensemble_operator.config import OperatorConfig
from ensemble_operator.resources import pods
from ensemble_operator.resources.jobs.manifest import attempt_annotations, job
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.quantities import TOOLS_REQUESTS, requirements
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.names import LABEL_ROLLOUT
from ensembles_api.spec import Analysis

DEADLINE_MARGIN_SECONDS = 300
"""For pulling the image and for servers that are slow to answer; then analyse ends by itself."""


@dataclass(frozen=True)
class Measurement:
    """What is measured.

    Args:
        rollout: hash of the new servers' rollout.
        against: hash of the old servers' rollout; None where there are none.
        step: names the step of the rollout, at most 2 characters: one verdict for each.
        seconds: how long.
        since: when clients began to be answered by these servers in these shares.
    """

    rollout: str
    against: str | None
    step: str
    seconds: int
    since: datetime


def analyse_job(
    *,
    owner: Owner,
    data: RolloutData,
    config: OperatorConfig,
    measurement: Measurement,
    bounds: Analysis,
    attempt: int,
    first_failure: datetime | None,
) -> dict[str, Any]:
    """One measurement. It reads no storage and holds no credentials."""
    new = names.rollout_host(owner.name, measurement.rollout, owner.namespace, config.cluster_domain)
    analyse = ["analyse", "--new", new]
    if measurement.against is not None:
        old = names.rollout_host(owner.name, measurement.against, owner.namespace, config.cluster_domain)
        analyse += ["--old", old]
    analyse += ["--entrypoint", data.server.entrypoint, "--seconds", str(measurement.seconds)]
    analyse += ["--max-error-percent", str(bounds.max_error_percent)]
    analyse += ["--max-latency-percent", str(bounds.max_latency_percent)]
    analyse += ["--min-requests", str(bounds.min_requests)]
    name = names.analyse_job(owner.name, measurement.rollout, measurement.step, attempt=attempt)
    return job(
        name,
        namespace=owner.namespace,
        labels=owner.labels("analyse", **{LABEL_ROLLOUT: measurement.rollout}),
        annotations={
            names.ANNOTATION_STEP: measurement.step,
            names.ANNOTATION_MEASURED_SINCE: measurement.since.isoformat(),
            **attempt_annotations(attempt, first_failure),
        },
        owners=[owner.reference()],
        deadline=measurement.seconds + DEADLINE_MARGIN_SECONDS,
        pod=pods.pod_spec(
            containers=[
                pods.container(
                    "analyse",
                    image=config.tools_image,
                    pull_policy=config.image_pull_policy,
                    command=[pods.BUILDER],
                    args=analyse,
                    resources=requirements(defaults=TOOLS_REQUESTS),
                    mounts=[],
                )
            ],
            volumes=[pods.empty_dir("tmp")],
            imagePullSecrets=pods.pull_secrets(data.serving.image_pull_secrets),
            tolerations=data.serving.tolerations,
        ),
    )
