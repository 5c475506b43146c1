"""Arguments of the init container that brings a published revision into a pod."""

from __future__ import annotations

from typing import Literal

from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.rollout import RolloutData
from ensemble_operator.resources.storage_access import location
from ensembles_api.contract import TargetRequest


def fetch_revision(
    *,
    owner: Owner,
    data: RolloutData,
    target: TargetRequest,
    to: str,
    only: Literal["models", "verification"],
) -> list[str]:
    """`data.revision` is the manifest's digest: what does not match it is refused."""
    args = ["fetch", "revision", "--storage", location(data.storage)]
    args += ["--ensemble", f"{owner.namespace}/{owner.name}", "--revision", data.revision]
    return [*args, "--target", target.name, "--to", to, "--only", only]
