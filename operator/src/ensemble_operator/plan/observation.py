"""What one pass sees of an ensemble: the resource and its children, parsed into frozen values.

`ensemble_operator.observe` fills these from the watch cache; the planner reads nothing else, so that every
decision can be tested by writing an Observation down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.spec import InferenceEnsembleSpec

JobState = Literal["active", "succeeded", "failed"]
IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
"""waiting_reason of a container whose image cannot be had."""
CLAIMS = "claims"
"""Stands among a pod's devices for those of resource claims; the scheduler "cannot allocate all claims"."""


@dataclass(frozen=True)
class SpecError:
    """The spec does not parse: the field's path (spec.…) and what is wrong with it."""

    field: str
    message: str


@dataclass(frozen=True)
class ContainerSeen:
    name: str
    init: bool = False
    running: bool = False
    ready: bool = False
    waiting_reason: str = ""
    waiting_message: str = ""
    exit_code: int | None = None
    """Of the present or, where it was restarted, the last termination; None where it never ended."""
    terminated_reason: str = ""
    """OOMKilled, Error, Completed, …"""
    termination_message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    restarts: int = 0


@dataclass(frozen=True)
class PodSeen:
    name: str
    uid: str
    labels: Mapping[str, str]
    phase: str
    reason: str = ""
    """status.reason: DeadlineExceeded, Evicted, …"""
    message: str = ""
    ready: bool = False
    not_ready_since: datetime | None = None
    """When it lost readiness, or was made; None while it is ready."""
    ready_since: datetime | None = None
    """Since when it is ready; None where it is not."""
    deleting: bool = False
    ends_by: datetime | None = None
    """Where it is being deleted: when its grace period is over."""
    node: str = ""
    """Its node's name; empty before it has one."""
    owned: bool = True
    """It has an owner, which made it and may end it."""
    scheduled: bool = True
    unscheduled_reason: str = ""
    """reason of PodScheduled=False: Unschedulable, SchedulingGated."""
    unscheduled_message: str = ""
    devices: tuple[str, ...] = ()
    """Extended resources that it asks for: nvidia.com/gpu, …; and CLAIMS where it has resource claims."""
    claim_templates: tuple[str, ...] = ()
    """ResourceClaimTemplates that its claims are made from."""
    claim_error: str = ""
    """Why its claims are not made, or its node cannot prepare them: an Event's, only read while it waits."""
    set_up: bool = False
    """Its node has all that containers need before they start: claims, volumes, network."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    disrupted: bool = False
    """A DisruptionTarget condition is true: evicted, preempted, node lost."""
    created: datetime | None = None
    started_at: datetime | None = None
    """When its node took it on; None before."""
    containers: tuple[ContainerSeen, ...] = ()

    def container(self, name: str) -> ContainerSeen | None:
        return next((c for c in self.containers if c.name == name), None)

    @property
    def ended(self) -> bool:
        """Whether it runs nothing and never will: an evicted pod stays as an object, and holds no GPU."""
        return self.phase in {"Failed", "Succeeded"}


@dataclass(frozen=True)
class QueueSeen:
    """What Kueue says of a Job that it holds back."""

    message: str = ""
    """Why there is no room; empty while nobody has looked yet."""
    stopped: str = ""
    """Why it took the Job off its node again (Preempted, …); empty where the Job has not run."""
    taken_up: bool = True
    """False where Kueue has made no Workload of it, long after it should have."""
    active: bool = True
    """Without it the Job stays out of the queue until somebody sets the Workload's spec.active."""


@dataclass(frozen=True)
class JobSeen:
    name: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    state: JobState
    created: datetime
    finished_at: datetime | None = None
    failed_reason: str = ""
    """Reason of the Job's Failed condition."""
    owners: tuple[str, ...] = ()
    """uids of ownerReferences."""
    deleting: bool = False
    suspended: bool = False
    suspended_since: datetime | None = None
    queue: QueueSeen | None = None
    """Only read while the ensemble's own Job is suspended; None where there is no Kueue."""
    pods: tuple[PodSeen, ...] = ()
    create_error: str = ""
    """Message of the newest FailedCreate Event (quota, admission), only read while the Job has no pod."""


@dataclass(frozen=True)
class DeploymentSeen:
    name: str
    uid: str
    labels: Mapping[str, str]
    manifest: Mapping[str, Any]
    """The live object, to compare with what it should be."""
    replicas: int
    ready_replicas: int = 0
    updated_replicas: int = 0
    observed: bool = True
    """status.observedGeneration has reached metadata.generation."""
    created: datetime | None = None
    owners: tuple[str, ...] = ()
    """uids of ownerReferences."""
    deleting: bool = False
    pods: tuple[PodSeen, ...] = ()


@dataclass(frozen=True)
class RolloutSeen:
    """A ControllerRevision of ours."""

    name: str
    uid: str
    number: int
    data: RolloutData
    annotations: Mapping[str, str]
    created: datetime


@dataclass(frozen=True)
class GpuOffer:
    """A node's GPUs: the product that its label names, and the extended resources that it has any of."""

    product: str
    resources: frozenset[str]
    none_left: frozenset[str] = frozenset()
    """Resources that it had and has none of: its GPUs are MIG slices now, or the device plugin is away."""


@dataclass(frozen=True)
class ObjectSeen:
    """A Service, PodDisruptionBudget or ConfigMap under a name we use, ours or not."""

    name: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owners: tuple[str, ...]
    manifest: Mapping[str, Any]
    deleting: bool = False


@dataclass(frozen=True)
class RoutesSeen:
    """The HTTPRoute and the GRPCRoute named like the ensemble, ours or not.

    missing: why the cluster has no routes at all; empty where it serves their API.
    """

    found: tuple[ObjectSeen, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Observation:
    now: datetime
    namespace: str
    name: str
    uid: str
    generation: int
    annotations: Mapping[str, str]
    finalizers: tuple[str, ...]
    deleting_since: datetime | None
    spec: InferenceEnsembleSpec | None
    """None where it does not parse; then `spec_error` says why."""
    spec_error: SpecError | None
    status: Mapping[str, Any]
    """The status as last written, {} at first; camelCase."""
    spec_manager: str = ""
    """The field manager that changed the spec last."""
    config_maps: Mapping[str, Mapping[str, str] | None] = field(default_factory=dict)
    """Every ConfigMap that the spec names: key -> sha256 of its value; None where it does not exist."""
    jobs: tuple[JobSeen, ...] = ()
    """Jobs owned by this ensemble, and build Jobs of the namespace under keys it may share."""
    deployments: tuple[DeploymentSeen, ...] = ()
    strays: tuple[PodSeen, ...] = ()
    """Servers' pods of no Deployment of ours: theirs was deleted before them, or they are somebody else's."""
    rollouts: tuple[RolloutSeen, ...] = ()
    services: tuple[ObjectSeen, ...] = ()
    budgets: tuple[ObjectSeen, ...] = ()
    autoscalers: tuple[ObjectSeen, ...] = ()
    """Ours, and those that KEDA makes of ours."""
    missing_kinds: frozenset[str] = frozenset()
    """Kinds that the operator might create and the cluster does not have."""
    requests: tuple[ObjectSeen, ...] = ()
    """ConfigMaps that hold requests of this ensemble."""
    endpoints_ready: bool = False
    """The ensemble's Service has a ready endpoint."""
    namespace_terminating: bool = False
    routes: RoutesSeen = field(default_factory=RoutesSeen)
    """As they are now where spec.gateway is set; else those of ours that a former spec has left."""
    gpu_offers: frozenset[GpuOffer] | None = None
    """Read where an engine's target names no product, or a pod waits for one; None where nodes were not, or
    cannot be, read."""
