"""ControllerRevisions: the immutable inputs of each rollout, from which its servers are rendered again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ensemble_operator import names
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.names import LABEL_ROLLOUT


def controller_revision(
    *, owner: Owner, data: RolloutData, number: int, provenance: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Rollout `number` of the ensemble; the API server refuses any later change of `data`.

    `provenance`: annotations that tell who began it and why.
    """
    rollout = data.rollout_hash()
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": owner.metadata(
            names.rollout(owner.name, rollout),
            labels=owner.labels("rollout", **{LABEL_ROLLOUT: rollout, names.LABEL_INPUTS: data.inputs[:16]}),
            annotations={
                names.ANNOTATION_INPUTS: data.inputs,
                names.ANNOTATION_LOCK: data.lock,
                **(provenance or {}),
            },
        ),
        "revision": number,
        "data": data.model_dump(mode="json", exclude_none=True),
    }
