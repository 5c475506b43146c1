"""The kinds of objects the operator touches, and where the API serves them."""

from __future__ import annotations

from dataclasses import dataclass

from ensembles_api.names import API_VERSION, KIND, LABEL_ROLE, PLURAL


@dataclass(frozen=True)
class Kind:
    """A kind of the Kubernetes API."""

    api_version: str
    name: str
    plural: str

    @property
    def group(self) -> str:
        """Empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, of an object, or of its subresource; without namespace: of all."""
        parts = ["/apis" if self.group else "/api", self.api_version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


ENSEMBLE = Kind(API_VERSION, KIND, PLURAL)
JOB = Kind("batch/v1", "Job", "jobs")
POD = Kind("v1", "Pod", "pods")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
CONTROLLER_REVISION = Kind("apps/v1", "ControllerRevision", "controllerrevisions")
SERVICE = Kind("v1", "Service", "services")
BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
HPA = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
NODE = Kind("v1", "Node", "nodes")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
GRPC_ROUTE = Kind("gateway.networking.k8s.io/v1", "GRPCRoute", "grpcroutes")
ROUTES = (HTTP_ROUTE, GRPC_ROUTE)
WORKLOADS = tuple(
    Kind(f"kueue.x-k8s.io/{version}", "Workload", "workloads") for version in ("v1beta2", "v1beta1")
)
"""Kueue's, in the versions that its releases serve, newest first. Never written."""
EVENT = Kind("v1", "Event", "events")
"""Of the core group: kubectl sorts by lastTimestamp, which Events of the newer group may not have."""

CHILDREN = (JOB, POD, DEPLOYMENT, CONTROLLER_REVISION, SERVICE, BUDGET, CONFIG_MAP, ENDPOINT_SLICE, HPA)
WATCHED = (ENSEMBLE, *CHILDREN)
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
OPTIONAL = (SCALED_OBJECT, *ROUTES)
"""Kinds of our objects that a cluster need not have, and may get any time: listed, not watched."""

CHILD_SELECTOR = LABEL_ROLE
"""Every child carries this label; EndpointSlices inherit the labels of their Service."""

_BY_NAME = {kind.name: kind for kind in (*WATCHED, *OPTIONAL, LEASE, EVENT)}


def kind_named(name: str) -> Kind:
    """The kind of that name.

    Raises:
        KeyError: the operator does not deal in such objects.
    """
    return _BY_NAME[name]


def selector_of(kind: Kind) -> str:
    """The label selector under which a kind is watched and listed; empty for all objects."""
    return "" if kind == ENSEMBLE else CHILD_SELECTOR
