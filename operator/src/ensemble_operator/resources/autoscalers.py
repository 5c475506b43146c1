"""HorizontalPodAutoscalers and KEDA's ScaledObjects: one for each target, on the rollout that serves."""

from __future__ import annotations

from typing import Any

from ensemble_operator import names
from ensemble_operator.resources import queries, tritonserver
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.quantities import canonical
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.contract import TargetRequest
from ensembles_api.names import LABEL_TARGET
from ensembles_api.spec import Autoscaling, Keda

ROLE = "autoscaler"
HPA = "HorizontalPodAutoscaler"
SCALED_OBJECT = "ScaledObject"
SERVER = tritonserver.CONTAINER
"""Whose CPU counts: a sidecar in the pod says nothing about the load."""

Json = dict[str, Any]


def autoscaler(
    *, owner: Owner, data: RolloutData, rollout: str, target: TargetRequest, scaling: Autoscaling
) -> Json:
    """The object that scales one target's Deployment of a rollout."""
    reference = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": names.deployment(owner.name, rollout, target.name),
    }
    servers = queries.servers_of(
        namespace=owner.namespace, ensemble=owner.name, rollout=rollout, target=target.name
    )
    head = owner.metadata(
        names.autoscaler(owner.name, target.name), labels=owner.labels(ROLE, **{LABEL_TARGET: target.name})
    )
    entrypoint = data.server.entrypoint
    if scaling.keda is not None:
        spec = _scaled_object(scaling, scaling.keda, reference, servers, entrypoint)
        return {"apiVersion": "keda.sh/v1alpha1", "kind": SCALED_OBJECT, "metadata": head, "spec": spec}
    spec = _horizontal(scaling, reference, servers, entrypoint)
    return {"apiVersion": "autoscaling/v2", "kind": HPA, "metadata": head, "spec": spec}


def _horizontal(scaling: Autoscaling, reference: Json, servers: queries.Servers, entrypoint: str) -> Json:
    wanted = scaling.target
    metrics: list[Json] = []
    if wanted.cpu_utilization_percent is not None:
        cpu = {"type": "Utilization", "averageUtilization": wanted.cpu_utilization_percent}
        resource = {"name": "cpu", "container": SERVER, "target": cpu}
        metrics.append({"type": "ContainerResource", "containerResource": resource})
    labels = {name: value for name, value in servers.labels.items() if name != queries.LABEL_NAMESPACE}
    if wanted.queue_microseconds is not None:
        # A mean does not shrink as servers are added: Value, not AverageValue.
        mean = {"type": "Value", "value": canonical(wanted.queue_microseconds)}
        asked = {**labels, queries.LABEL_MODEL: entrypoint}
        metrics.append(_external(queries.EXTERNAL_QUEUE, asked, mean))
    if wanted.pending_requests is not None:
        each = {"type": "AverageValue", "averageValue": canonical(wanted.pending_requests)}
        metrics.append(_external(queries.EXTERNAL_PENDING, labels, each))
    spec = {
        "scaleTargetRef": reference,
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "metrics": metrics,
    }
    return {**spec, "behavior": scaling.behavior} if scaling.behavior else spec


def _external(name: str, labels: dict[str, str], target: Json) -> Json:
    metric = {"name": name, "selector": {"matchLabels": labels}}
    return {"type": "External", "external": {"metric": metric, "target": target}}


def _scaled_object(
    scaling: Autoscaling, keda: Keda, reference: Json, servers: queries.Servers, entrypoint: str
) -> Json:
    wanted = scaling.target
    triggers: list[Json] = []
    if wanted.cpu_utilization_percent is not None:
        cpu = {"value": str(wanted.cpu_utilization_percent), "containerName": SERVER}
        triggers.append({"type": "cpu", "metricType": "Utilization", "metadata": cpu})
    if wanted.queue_microseconds is not None:
        query = queries.queue_microseconds(servers, entrypoint=entrypoint)
        triggers.append(_prometheus(keda, query, wanted.queue_microseconds, "Value"))
    if wanted.pending_requests is not None:
        query = queries.pending_requests(servers)
        triggers.append(_prometheus(keda, query, wanted.pending_requests, "AverageValue"))
    spec = {
        "scaleTargetRef": reference,
        "pollingInterval": keda.polling_seconds,
        "minReplicaCount": scaling.min_replicas,
        "maxReplicaCount": scaling.max_replicas,
        "triggers": triggers,
    }
    if not scaling.behavior:
        return spec
    return {**spec, "advanced": {"horizontalPodAutoscalerConfig": {"behavior": scaling.behavior}}}


def _prometheus(keda: Keda, query: str, threshold: int, metric_type: str) -> Json:
    metadata = {
        "serverAddress": keda.server_address,
        "query": query,
        "threshold": str(threshold),
        # No value is no word about the load: the number stays as it is.
        "ignoreNullValues": "false",
    }
    trigger: Json = {"type": "prometheus", "metricType": metric_type, "metadata": metadata}
    if keda.authentication_name is None:
        return trigger
    metadata["authModes"] = str(keda.auth_modes)
    return {**trigger, "authenticationRef": {"name": keda.authentication_name}}
