"""The container of an export, which stands where a build's compiler would: the user's image, no keys."""

from __future__ import annotations

from ensemble_operator.config import OperatorConfig
from ensemble_operator.resources import pods
from ensemble_operator.resources.pods import Json
from ensemble_operator.resources.quantities import requirements
from ensembles_api.spec import Export, Gpu

NAME = "export"
INPUTS = "/inputs"
OUTPUTS = "/outputs"
REQUESTS = {"cpu": "500m", "memory": "1Gi"}


def export_container(export: Export, *, config: OperatorConfig, gpu: Gpu | None, work: str, tmp: str) -> Json:
    """It sees the two folders of the volume `work` that it needs, and no more of it."""
    return pods.container(
        NAME,
        image=export.image,
        pull_policy=config.image_pull_policy,
        command=export.command,
        args=export.args,
        env=[
            {"name": "EXPORT_OUTPUT", "value": f"{OUTPUTS}/{export.output}"},
            *({"name": variable.name, "value": variable.value} for variable in export.env),
        ],
        resources=requirements(defaults=REQUESTS, resources=export.resources, gpu=gpu),
        mounts=[
            {"name": work, "mountPath": INPUTS, "subPath": "in", "readOnly": True},
            {"name": work, "mountPath": OUTPUTS, "subPath": "out"},
        ],
        tmp=tmp,
    )
