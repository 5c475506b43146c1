"""Who scales the servers, between which numbers, and by what."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from ensembles_api.schema import ApiModel, Rule, rules
from ensembles_api.spec.values import Object, ObjectName


class ScalingTarget(ApiModel):
    """What the servers are kept at; of several, the one that asks for the most servers holds."""

    cpu_utilization_percent: int | None = Field(
        None,
        ge=1,
        le=10000,
        description="CPU that tritonserver uses, in percent of spec.serving.resources.requests.cpu.",
    )
    queue_microseconds: int | None = Field(
        None,
        ge=1,
        le=10**9,
        description="How long a request to the entrypoint waits in the queues of all models, on average.",
    )
    pending_requests: int | None = Field(
        None, ge=1, le=10**6, description="Requests that wait for a model, of each server."
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.cpuUtilizationPercent) || has(self.queueMicroseconds) || has(self.pendingRequests)",
                "target: set cpuUtilizationPercent, queueMicroseconds or pendingRequests",
            )
        )
    )


class Keda(ApiModel):
    """Scale by a ScaledObject of KEDA, which asks Prometheus by itself."""

    server_address: str = Field(
        min_length=8, max_length=1024, pattern=r"^https?://\S+$", description="URL of Prometheus."
    )
    polling_seconds: int = Field(15, ge=1, le=3600, description="How often it is asked.")
    authentication_name: ObjectName | None = Field(
        None, description="A TriggerAuthentication of the namespace, for Prometheus."
    )
    auth_modes: Literal["basic", "bearer", "tls", "custom"] | None = Field(
        None, description="As in KEDA's prometheus trigger."
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.authModes) == has(self.authenticationName)",
                "keda: authenticationName and authModes go together",
            )
        )
    )


class Autoscaling(ApiModel):
    """Lets an autoscaler set the number of servers of each target; a HorizontalPodAutoscaler without keda."""

    min_replicas: int = Field(1, ge=1, le=1000)
    max_replicas: int = Field(ge=1, le=1000)
    target: ScalingTarget
    behavior: Object | None = Field(
        None, description="As in a HorizontalPodAutoscaler: how fast, and after how long, the number changes."
    )
    keda: Keda | None = None
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.minReplicas <= self.maxReplicas",
                "autoscaling: minReplicas is more than maxReplicas; exchange them",
            )
        )
    )
