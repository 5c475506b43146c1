"""The servers, the build Jobs, and the images of both."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from ensembles_api.schema import ATOMIC, ApiModel, Rule, rules
from ensembles_api.spec.values import (
    Annotations,
    Image,
    Labels,
    LabelValue,
    LocalObject,
    Object,
    ObjectName,
    Resources,
)


class Runtime(ApiModel):
    """Which Triton release builds and serves; default the operator's."""

    release: str | None = Field(
        None, min_length=1, max_length=32, description="A row of the operator's release table."
    )
    server_image: Image | None = Field(None, description="A tritonserver image outside of the release table.")
    builder_image: Image | None = Field(None, description="The builder image made from serverImage.")
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.serverImage) == has(self.builderImage)",
                "serverImage and builderImage go together: engines and pipelines fit only the server "
                "they were built for",
            ),
            Rule(
                "!(has(self.release) && has(self.serverImage))",
                "set either release or serverImage with builderImage, not both",
            ),
        )
    )


class Gpu(ApiModel):
    """GPUs of each server; absent, the target serves on the CPU."""

    product: LabelValue | None = Field(None, description="Value of the node label nvidia.com/gpu.product.")
    count: int = Field(1, ge=1, le=16)
    resource_name: str = Field(
        "nvidia.com/gpu",
        max_length=253,
        pattern=r"^[a-z0-9.\-]+/[A-Za-z0-9_.\-]+$",
        description="The extended resource that a pod asks for.",
    )
    resource_claim_template_name: ObjectName | None = Field(
        None,
        description="A ResourceClaimTemplate of the namespace that gives each pod its GPU instead (dynamic "
        "resource allocation); name the product it selects, engines are kept by it.",
    )
    model_config = ConfigDict(json_schema_extra=ATOMIC)


class Target(ApiModel):
    """A GPU type (or the CPU) to build for and to serve on."""

    name: str = Field(max_length=20, pattern=r"^[a-z0-9]([a-z0-9\-]*[a-z0-9])?$")
    gpu: Gpu | None = None


RESERVED_KEYS = Rule(
    "self.all(k, !k.matches('^([^/]*[.])?(ensembles[.]dev|kubernetes[.]io)/'))",
    "keys under ensembles.dev and kubernetes.io are reserved: choose another prefix",
)
VALID_KEYS = Rule(
    "self.all(k, k.matches('^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$'))",
    "keys are written as name or prefix/name, in letters, digits, '-', '_' and '.'",
)


SERVER_OPTIONS_OF_THE_OPERATOR = (
    "--model-repository", "--model-store", "--model-control-mode", "--load-model", "--repository-poll-secs",
    "--http-port", "--http-address", "--allow-http", "--grpc-port", "--grpc-address", "--allow-grpc",
    "--metrics-port", "--metrics-address", "--allow-metrics", "--strict-readiness", "--exit-on-error",
    "--exit-timeout-secs", "--disable-auto-complete-config", "--strict-model-config",
)  # fmt: skip
"""tritonserver options that would break what the operator promises: revisions, probes, draining."""


class HttpProxy(ApiModel):
    """Asks keep-alive clients of the HTTP port to reconnect before their server ends; tritonserver cannot."""

    enabled: bool = Field(
        default=True,
        description="False: a client that keeps its HTTP connection loses a request when a pod ends.",
    )
    resources: Resources = Field(
        default_factory=Resources, description="Of the container; default 50m and 64Mi, at most 512Mi."
    )


class Serving(ApiModel):
    """The tritonserver Deployment."""

    replicas: int = Field(1, ge=0, le=1000, description="Servers of each target.")
    targets: list[Target] = Field(
        default_factory=list,
        max_length=8,
        description="GPU types to serve on. Absent: one target, with a GPU if a model needs one.",
        json_schema_extra=rules(
            Rule("self.all(a, self.exists_one(b, b.name == a.name))", "targets: each name may stand once")
        ),
    )
    resources: Resources = Field(
        default_factory=Resources,
        description="Of the tritonserver container; GPUs come from targets.",
    )
    http_proxy: HttpProxy = Field(default_factory=HttpProxy, description="Before each server's HTTP port.")
    node_selector: Labels = Field(default_factory=dict, json_schema_extra=rules(VALID_KEYS))
    tolerations: list[Object] = Field(default_factory=list, max_length=32, description="As in a PodSpec.")
    affinity: Object | None = Field(None, description="As in a PodSpec.")
    topology_spread_constraints: list[Object] = Field(
        default_factory=list, max_length=16, description="As in a PodSpec; labelSelector is filled in."
    )
    extra_args: list[Annotated[str, Field(max_length=512)]] = Field(
        default_factory=list,
        max_length=64,
        description="Further tritonserver options; httpProxy knows nothing of them.",
        json_schema_extra=rules(
            Rule(
                f"self.all(a, a.startsWith('--') && !{list(SERVER_OPTIONS_OF_THE_OPERATOR)}"
                # getopt takes every unambiguous beginning of an option for the option.
                ".exists(r, r.startsWith(a.split('=')[0])))",
                "extraArgs: write options as --name=value; repository, control mode, ports, readiness "
                "and exit behaviour are the operator's",
            )
        ),
    )
    pod_labels: Labels = Field(default_factory=dict, json_schema_extra=rules(RESERVED_KEYS, VALID_KEYS))
    pod_annotations: Annotations = Field(
        default_factory=dict, json_schema_extra=rules(RESERVED_KEYS, VALID_KEYS)
    )
    image_pull_secrets: list[LocalObject] = Field(default_factory=list, max_length=8)
    service_account_name: ObjectName | None = None
    priority_class_name: ObjectName | None = None
    runtime_class_name: ObjectName | None = None
    startup_seconds: int = Field(
        600,
        ge=10,
        le=86400,
        description="How long fetching and loading may take before the pod is restarted.",
    )
    drain_seconds: int = Field(
        30, ge=1, le=3600, description="How long running requests are given when a pod ends."
    )


class Build(ApiModel):
    """The build Jobs."""

    resources: Resources = Field(default_factory=Resources, description="Of the container that compiles.")
    node_selector: Labels = Field(default_factory=dict, json_schema_extra=rules(VALID_KEYS))
    tolerations: list[Object] = Field(default_factory=list, max_length=32, description="As in a PodSpec.")
    timeout_seconds: int = Field(
        3600, ge=30, le=86400, description="How long one build may run, from the start of its pod."
    )
    queue_name: LabelValue | None = Field(
        None, description="The Kueue LocalQueue that admits build Jobs (label kueue.x-k8s.io/queue-name)."
    )
    priority_class_name: ObjectName | None = Field(None, description="Of the pods of build Jobs.")
    workload_priority_class_name: LabelValue | None = Field(
        None,
        description="Who goes first in the queue, of Kueue's classes; by default priorityClassName says it.",
    )
    when_gpu_busy: Literal["Wait", "StopServing"] = Field(
        "Wait",
        alias="whenGPUBusy",
        description="What to do where this ensemble's own servers hold the GPU that a build, or the servers "
        "of what was built, wait for: wait, or end the old servers until the new ones serve.",
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.workloadPriorityClassName) || has(self.queueName)",
                "workloadPriorityClassName orders a queue: set queueName too",
            ),
        )
    )
