"""InferenceEnsemble `status`: only a report, rebuilt from the cluster at every pass."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ensembles_api.schema import ApiModel, rules


class StatusCondition(ApiModel):
    type: str = Field(max_length=64)
    status: Literal["True", "False", "Unknown"]
    observed_generation: int
    last_transition_time: str = Field(max_length=40)
    reason: str = Field(max_length=64)
    message: str = Field(max_length=4096)


ModelState = Literal["Pending", "Waiting", "Building", "Built", "Cached", "Failed"]


class ModelStatus(ApiModel):
    name: str = Field(max_length=128)
    kind: str = Field(max_length=16)
    state: ModelState = Field(
        description="Waiting: its build cannot start. Cached: found in storage. Built: or needs no build."
    )
    key: str | None = Field(None, max_length=12, description="Beginning of its artifact's key.")
    seconds: int | None = Field(None, description="What building it took; where it is Cached, once.")
    since: str | None = Field(None, max_length=40, description="When it came to be Building or Waiting.")


class TargetStatus(ApiModel):
    name: str = Field(max_length=20)
    deployment: str = Field(max_length=63)
    ready_replicas: int = 0
    replicas: int = 0
    desired_replicas: int | None = Field(None, description="What its autoscaler wants.")
    autoscaler: str | None = Field(
        None, max_length=512, description="Why the autoscaler cannot scale; absent while it can."
    )


class ScaleStatus(ApiModel):
    """For `kubectl scale` and autoscalers of the resource itself; of several targets, the first."""

    replicas: int = 0
    selector: str = Field("", max_length=512, description="Labels of the servers' pods.")


class RolloutRecord(ApiModel):
    """One rollout of the history, newest first."""

    number: int
    revision: str = Field(max_length=64)
    rollout: str = Field(max_length=16)
    outcome: str = Field(max_length=32)
    started_at: str | None = Field(None, max_length=40)
    started_by: str | None = Field(
        None, max_length=128, description="Field manager that changed the spec last."
    )
    cause: str | None = Field(
        None, max_length=512, description="Annotation kubernetes.io/change-cause of then."
    )
    changes: str | None = Field(None, max_length=512, description="Against the rollout that served then.")
    verified_at: str | None = Field(None, max_length=40)
    promoted_at: str | None = Field(None, max_length=40)
    retired_at: str | None = Field(None, max_length=40)
    finished_at: str | None = Field(None, max_length=40, description="When it was promoted, or failed.")
    message: str | None = Field(None, max_length=1024)


class FailedCase(ApiModel):
    """A case that a server failed; `case` is empty for the smoke test."""

    case: str = Field("", max_length=63)
    model: str = Field(max_length=128)
    server: str = Field(max_length=64)
    message: str = Field(max_length=512)


class VerificationStatus(ApiModel):
    """How new servers stood their verification; each case counts once for each server."""

    revision: str = Field(max_length=64)
    rollout: str = Field(max_length=16)
    servers: int = 0
    passed: int = 0
    failed: int = 0
    unproven: int = Field(0, description="Refused guesses at what a model takes.")
    seconds: float = 0.0
    report: str = Field("", max_length=512, description="The whole, below spec.storage.uri.")
    failures: list[FailedCase] = Field(default_factory=list, max_length=8)


class RolloutProgress(ApiModel):
    """How far the new servers have come in taking over."""

    rollout: str = Field(max_length=16)
    revision: str = Field(max_length=64)
    strategy: str = Field(max_length=16)
    servers: str = Field(max_length=32, description="Ready and wanted new servers.")
    step: int | None = Field(None, description="Of a canary; one more than steps: all the requests.")
    steps: int | None = None
    weight: int | None = Field(None, description="Percent of the requests that the new servers get.")
    since: str | None = Field(None, max_length=40, description="Since when they get it.")


class InferenceEnsembleStatus(ApiModel):
    observed_generation: int = -1
    conditions: list[StatusCondition] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra=rules(**{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    )
    stage: str | None = Field(None, max_length=32)
    revision: str | None = Field(None, max_length=64, description="The revision that serves.")
    rollout: str | None = Field(None, max_length=16)
    url: str | None = Field(None, max_length=512)
    entrypoint: str | None = Field(None, max_length=128)
    replicas: str | None = Field(None, max_length=32, description="Ready and wanted servers.")
    scale: ScaleStatus | None = None
    attempt: int | None = Field(None, description="Tries of the step that is being retried.")
    retry_at: str | None = Field(None, max_length=40)
    failing_since: str | None = Field(
        None, max_length=40, description="Since when the present failure lasts."
    )
    models: list[ModelStatus] = Field(default_factory=list, max_length=64)
    targets: list[TargetStatus] = Field(default_factory=list, max_length=8)
    verification: VerificationStatus | None = Field(
        None, description="Of the wanted servers; before these were asked, of those that serve."
    )
    warnings: list[Annotated[str, Field(max_length=1024)]] = Field(default_factory=list, max_length=32)
    progress: RolloutProgress | None = Field(None, description="Absent while no rollout is under way.")
    history: list[RolloutRecord] = Field(default_factory=list, max_length=100)
