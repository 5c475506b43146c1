"""How new servers replace the old ones, and how to go back."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import ConfigDict, Field

from ensembles_api.schema import ApiModel, Rule, rules
from ensembles_api.spec.values import Object, Sha256


class Strategy(str, Enum):
    BLUE_GREEN = "BlueGreen"
    CANARY = "Canary"
    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"


class RollingUpdate(ApiModel):
    """How far the numbers of servers may stray from the wanted one while they change; of each target."""

    max_surge: int = Field(1, ge=0, le=100)
    max_unavailable: int = Field(0, ge=0, le=100)
    model_config = ConfigDict(
        # The API server judges the default, {}, before the defaults inside it are filled in.
        json_schema_extra=rules(
            Rule(
                "!has(self.maxSurge) || !has(self.maxUnavailable) || self.maxSurge + self.maxUnavailable > 0",
                "rollingUpdate: maxSurge and maxUnavailable cannot both be 0, nothing could move",
            )
        )
    )


class CanaryStep(ApiModel):
    weight: int = Field(ge=1, le=99, description="Percent of the requests that the new servers get.")
    pause_seconds: int = Field(0, ge=0, le=604800, description="How long the step lasts at least.")
    analyse_seconds: int = Field(
        0, ge=0, le=86400, description="How long new and old servers are measured, see analysis."
    )
    wait_for_approval: bool = Field(
        default=False, description="Stay until somebody runs `kubectl ensemble promote`."
    )


class Canary(ApiModel):
    """Shares of the traffic that the new servers get before all of it, one after the other."""

    steps: list[CanaryStep] = Field(min_length=1, max_length=20)


class Analysis(ApiModel):
    """Bounds for the new servers, by Triton's own metrics of the entrypoint."""

    max_error_percent: int = Field(
        1, ge=0, le=100, description="How many more of 100 requests may fail than of the old servers'."
    )
    max_latency_percent: int = Field(
        150, ge=100, le=100000, description="Mean duration of a request in percent of the old servers'."
    )
    min_requests: int = Field(
        20, ge=1, le=1000000, description="Fewer requests to the new servers give no verdict."
    )


Hostnames = list[Annotated[str, Field(min_length=1, max_length=253)]]


class GatewayGrpc(ApiModel):
    """Where the GRPCRoute goes, if not where the HTTPRoute goes. A listener takes one of the two kinds for a
    hostname: give gRPC a hostname or a listener (sectionName) of its own.
    """

    parent_refs: list[Object] = Field(default_factory=list, max_length=8)
    hostnames: Hostnames = Field(default_factory=list, max_length=16)


class Gateway(ApiModel):
    """An HTTPRoute and a GRPCRoute of the Gateway API that the operator owns; both lead to the servers."""

    parent_refs: list[Object] = Field(
        min_length=1, max_length=8, description="Gateways to attach to, as in an HTTPRoute."
    )
    hostnames: Hostnames = Field(default_factory=list, max_length=16, description="As in an HTTPRoute.")
    grpc: GatewayGrpc = Field(default_factory=GatewayGrpc)


class Rollout(ApiModel):
    """How new servers replace the old ones."""

    strategy: Strategy = Strategy.BLUE_GREEN
    rolling_update: RollingUpdate = Field(default_factory=RollingUpdate)
    canary: Canary | None = None
    analysis: Analysis | None = Field(
        None, description="Set, the new servers are also measured for watchSeconds after the switch."
    )
    retain_seconds: int = Field(
        60, ge=0, le=86400, description="How long the old servers stay after the switch."
    )
    verify_seconds: int = Field(
        600, ge=10, le=86400, description="How long new servers may take to answer the first inference."
    )
    watch_seconds: int = Field(
        60,
        ge=0,
        le=86400,
        description="How long after the switch a failure of the new servers brings the old ones back.",
    )
    pin_revision: Sha256 | None = Field(
        None, description="A revision of status.history to serve whatever the spec asks for."
    )
    paused: bool = Field(
        default=False, description="Start no rollout and take no further step; what serves is kept alive."
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(has(self.strategy) && self.strategy == 'Canary') == has(self.canary)",
                "rollout: strategy Canary needs canary.steps, other strategies have none",
            )
        )
    )
