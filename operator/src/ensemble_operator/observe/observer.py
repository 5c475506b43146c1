"""From the cache to one Observation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import NotFoundError
from ensemble_operator.cluster.kinds import (
    BUDGET,
    CHILDREN,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    ENSEMBLE,
    HPA,
    JOB,
    POD,
    ROUTES,
    SCALED_OBJECT,
    SERVICE,
    Kind,
)
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.observe.config_maps import UserConfigMaps
from ensemble_operator.observe.gpus import GpuNodes
from ensemble_operator.observe.objects import (
    belongs_to,
    has_ready_endpoint,
    parse_object,
    parse_rollout,
    spec_manager,
)
from ensemble_operator.observe.optional import OptionalKinds
from ensemble_operator.observe.pods import parse_pod, parse_time
from ensemble_operator.observe.routes import AGAIN, read_routes
from ensemble_operator.observe.routing import Key
from ensemble_operator.observe.waits import Waits
from ensemble_operator.observe.workloads import (
    parse_deployment,
    parse_job,
    pods_by_owner,
    pods_of_deployment,
    pods_of_none,
)
from ensemble_operator.plan.gpus import asks_what_nodes_offer
from ensemble_operator.plan.observation import (
    DeploymentSeen,
    JobSeen,
    ObjectSeen,
    Observation,
    RoutesSeen,
    SpecError,
)
from ensembles_api.names import LABEL_ENSEMBLE, LABEL_ROLE
from ensembles_api.sources import iter_sources
from ensembles_api.spec import InferenceEnsembleSpec
from ensembles_api.validation import SpecError as InvalidSpecError
from ensembles_api.validation import parse_spec

Object = Mapping[str, Any]

TERMINATING_SECONDS = 600
"""How long a namespace that refused an object because of its end is taken to be ending."""

BUILD = "build"
SERVER = "server"


@dataclass(frozen=True)
class Look:
    """An Observation, and when to look again though no event tells so."""

    observation: Observation
    again: datetime | None


class Observer:
    """Makes Observations. Usable from several threads, for different keys."""

    def __init__(
        self,
        api: KubernetesApi,
        cache: ObjectCache,
        config_maps: UserConfigMaps,
        gpu_nodes: GpuNodes,
        *,
        optional: OptionalKinds,
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._cache = cache
        self._config_maps = config_maps
        self._gpu_nodes = gpu_nodes
        self._optional = optional
        self._waits = Waits(api)
        self._now = now
        self._lock = threading.Lock()
        self._terminating: dict[str, datetime] = {}
        self._specs: dict[Key, tuple[tuple[str, int], InferenceEnsembleSpec | SpecError]] = {}
        """Parsed specs by uid and generation: a pass often sees the same one again."""

    def observe(self, key: Key) -> Look | None:
        """What is known of an ensemble; None where it does not exist.

        Raises:
            ensemble_operator.cluster.errors.ApiError: a ConfigMap, Event or Node cannot be read.
        """
        resource = self._cache.get(ENSEMBLE, key.namespace, key.name)
        if resource is None:
            self._config_maps.forget(key)
            with self._lock:
                self._specs.pop(key, None)
            return None
        now = self._now()
        metadata = resource["metadata"]
        parsed = self._spec(key, resource)
        spec = parsed if isinstance(parsed, InferenceEnsembleSpec) else None
        jobs, again = self._jobs(key, metadata["uid"], now)
        wants_routes = spec is not None and spec.gateway is not None
        if wants_routes:
            again = min(again or now + AGAIN, now + AGAIN)
        servers = [item for item in self._children(POD, key) if _role(item) == SERVER]
        deployments = self._children(DEPLOYMENT, key)
        seen, later = self._deployments(deployments, servers, now)
        again = min((at for at in (again, later) if at is not None), default=None)
        observation = Observation(
            now=now,
            namespace=key.namespace,
            name=key.name,
            uid=metadata["uid"],
            generation=metadata["generation"],
            annotations=metadata.get("annotations") or {},
            finalizers=tuple(metadata.get("finalizers") or ()),
            deleting_since=parse_time(metadata.get("deletionTimestamp")),
            spec=spec,
            spec_error=parsed if isinstance(parsed, SpecError) else None,
            status=resource.get("status") or {},
            spec_manager=spec_manager(metadata),
            config_maps=self._config_maps.digests(key, named_config_maps(spec) if spec else ()),
            jobs=jobs,
            deployments=seen,
            strays=tuple(map(parse_pod, pods_of_none(deployments, servers))),
            rollouts=tuple(
                rollout
                for item in self._children(CONTROLLER_REVISION, key)
                if (rollout := parse_rollout(item)) is not None
            ),
            services=self._objects(SERVICE, key),
            budgets=self._objects(BUDGET, key),
            autoscalers=(*self._objects(HPA, key), *self._objects(SCALED_OBJECT, key)),
            missing_kinds=frozenset(self._optional.missing()),
            requests=self._objects(CONFIG_MAP, key),
            endpoints_ready=has_ready_endpoint(self._children(ENDPOINT_SLICE, key), service=key.name),
            routes=self._routes(key, wanted=wants_routes),
            namespace_terminating=self._is_terminating(key.namespace, now),
        )
        if asks_what_nodes_offer(observation):
            observation = replace(observation, gpu_offers=self._gpu_nodes.offers())
        return Look(observation, again)

    def refresh(self, key: Key) -> None:
        """Read an ensemble and its children from the API server, for a decision that cannot be taken back.

        Raises:
            ensemble_operator.cluster.errors.ApiError: something cannot be read.
        """
        try:
            self._cache.store(self._api.get(ENSEMBLE, key.namespace, key.name))
        except NotFoundError:
            known = self._cache.get(ENSEMBLE, key.namespace, key.name)
            if known is not None:
                self._cache.remove(known)
        for kind in CHILDREN:
            self._reread(kind, key.namespace, LABEL_ENSEMBLE, key.name)
        for kind in (JOB, POD):
            self._reread(kind, key.namespace, LABEL_ROLE, BUILD)

    def namespace_is_terminating(self, namespace: str) -> None:
        """The API server refused an object because its namespace ends."""
        with self._lock:
            self._terminating[namespace] = self._now()

    def _reread(self, kind: Kind, namespace: str, label: str, value: str) -> None:
        listing = self._api.list(kind, namespace, label_selector=f"{label}={value}")
        self._cache.replace(
            kind,
            namespace,
            listing.items,
            version=listing.resource_version,
            where=lambda item: (item["metadata"].get("labels") or {}).get(label) == value,
        )

    def _is_terminating(self, namespace: str, now: datetime) -> bool:
        with self._lock:
            since = self._terminating.get(namespace)
        return since is not None and now - since < timedelta(seconds=TERMINATING_SECONDS)

    def _spec(self, key: Key, resource: Object) -> InferenceEnsembleSpec | SpecError:
        version = (resource["metadata"]["uid"], resource["metadata"]["generation"])
        with self._lock:
            known = self._specs.get(key)
        if known is not None and known[0] == version:
            return known[1]
        parsed = read_spec(resource)
        with self._lock:
            self._specs[key] = (version, parsed)
        return parsed

    def _children(self, kind: Kind, key: Key) -> list[Object]:
        items = self._cache.all(kind, key.namespace)
        return sorted(
            (item for item in items if belongs_to(item, ensemble=key.name)),
            key=lambda item: str(item["metadata"]["name"]),
        )

    def _objects(self, kind: Kind, key: Key) -> tuple[ObjectSeen, ...]:
        return tuple(parse_object(item) for item in self._children(kind, key))

    def _routes(self, key: Key, *, wanted: bool) -> RoutesSeen:
        if wanted:
            return read_routes(self._api, key, missing=self._optional.missing())
        return RoutesSeen(tuple(route for kind in ROUTES for route in self._objects(kind, key)))

    def _deployments(
        self, manifests: Iterable[Object], servers: Iterable[Object], now: datetime
    ) -> tuple[tuple[DeploymentSeen, ...], datetime | None]:
        """Deployments with their pods; and when to look at waiting ones again."""
        found: list[DeploymentSeen] = []
        again: list[datetime] = []
        for item in manifests:
            parsed = parse_deployment(item, pods=pods_of_deployment(item, servers))
            pods, look = self._waits.of_pods(item["metadata"]["namespace"], parsed.pods, now=now)
            again += [look] if look is not None else []
            found.append(replace(parsed, pods=pods))
        return tuple(found), min(again, default=None)

    def _jobs(self, key: Key, uid: str, now: datetime) -> tuple[tuple[JobSeen, ...], datetime | None]:
        """The ensemble's Jobs and all build Jobs of its namespace; and when to look at waiting ones again."""
        pods = pods_by_owner(self._cache.all(POD, key.namespace))
        seen: list[JobSeen] = []
        again: list[datetime] = []
        for item in self._cache.all(JOB, key.namespace):
            if not (belongs_to(item, ensemble=key.name) or _role(item) == BUILD):
                continue
            parsed = parse_job(item, pods=pods.get(item["metadata"]["uid"], ()))
            job, look = self._waits.of_job(parsed, item, ours=uid in parsed.owners, now=now)
            again += [look] if look is not None else []
            seen.append(job)
        return tuple(sorted(seen, key=lambda job: (job.created, job.name))), min(again, default=None)


def _role(manifest: Object) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(LABEL_ROLE) or "")


def read_spec(resource: Object) -> InferenceEnsembleSpec | SpecError:
    """The typed spec of a resource, or what is wrong with it."""
    try:
        return parse_spec(dict(resource.get("spec") or {}))
    except InvalidSpecError as error:
        first, *others = error.problems
        more = "".join(f"; {problem}" for problem in others)
        return SpecError(field=first.field, message=first.message + more)


def named_config_maps(spec: InferenceEnsembleSpec) -> frozenset[str]:
    """Every ConfigMap that a spec names."""
    names = {source.config_map.name for _, source in iter_sources(spec) if source.config_map}
    if spec.storage.ca_config_map:
        names.add(spec.storage.ca_config_map.name)
    return frozenset(names)
