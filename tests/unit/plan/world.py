"""Observations written down: the spec under test, and children as they look after the cluster acted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from ensemble_operator.config import OperatorConfig, Release
from ensemble_operator.names import COUNTING_CONTAINER
from ensemble_operator.plan.actions import Action, Create, Delete, Plan
from ensemble_operator.plan.observation import (
    ContainerSeen,
    DeploymentSeen,
    JobSeen,
    ObjectSeen,
    Observation,
    PodSeen,
    RolloutSeen,
)
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.contract import Fault, NextBuild, Result, ServerRequirements, VerificationSummary, Versions
from ensembles_api.reasons import Reason
from ensembles_api.spec import InferenceEnsembleSpec

T0 = datetime(2026, 1, 1, 12, 0, 0, tzinfo=timezone.utc)
UID = "11111111-2222-3333-4444-555555555555"
LOCK = "1" * 64
KEY = "2" * 64
REVISION = "3" * 64
CONFIG = OperatorConfig(
    tools_image="localhost/tools:1",
    releases={
        "26.05": Release(
            server_image="localhost/server:26.05",
            builder_image="localhost/builder:26.05",
            versions=Versions(triton="2.69.0"),
        )
    },
    default_release="26.05",
)
SPEC: dict[str, Any] = {
    "storage": {"uri": "s3://models/store", "endpoint": "http://s3:7070", "secretName": "keys"},
    "models": [
        {"name": "preprocess", "dali": {"source": {"inline": "pipe"}}},
        {"name": "classifier", "onnxruntime": {"source": {"uri": "s3://models/net.onnx"}}},
        {"name": "net", "ensemble": {"chain": ["preprocess", "classifier"]}},
    ],
}
VERIFIED = Result(verification=VerificationSummary(passed=2, servers=1, seconds=0.5, report="reports/1.json"))
SERVER = ServerRequirements(args=("--disable-auto-complete-config",), entrypoint="net")


def spec(**changes: Any) -> InferenceEnsembleSpec:
    return InferenceEnsembleSpec.model_validate({**SPEC, **changes})


def observation(**changes: Any) -> Observation:
    base = Observation(
        now=T0,
        namespace="demo",
        name="net",
        uid=UID,
        generation=1,
        annotations={},
        finalizers=(),
        deleting_since=None,
        spec=spec(),
        spec_error=None,
        status={},
    )
    return replace(base, **changes)


def created(result: Plan, kind: str) -> list[dict[str, Any]]:
    return [
        dict(action.manifest)
        for action in result.actions
        if isinstance(action, Create) and action.manifest["kind"] == kind
    ]


def deleted(result: Plan) -> set[tuple[str, str]]:
    return {(action.kind, action.name) for action in result.actions if isinstance(action, Delete)}


def of_type(result: Plan, kind: type[Action]) -> list[Any]:
    return [action for action in result.actions if isinstance(action, kind)]


def condition(result: Plan, kind: str) -> Mapping[str, Any] | None:
    assert result.status is not None
    return next((c for c in result.status["conditions"] if c["type"] == kind), None)


def job_seen(
    manifest: Mapping[str, Any],
    state: str = "active",
    *,
    result: Result | None = None,
    message: str | None = None,
    finished: datetime = T0,
    pod: PodSeen | None = None,
    owners: tuple[str, ...] | None = None,
) -> JobSeen:
    """A Job as the planner made it, in a state; `result` is what its counting container says."""
    metadata = manifest["metadata"]
    role = metadata["labels"]["ensembles.dev/role"]
    name = COUNTING_CONTAINER[role]
    text = message if message is not None else (result.message() if result else "")
    ended = state != "active"
    container = ContainerSeen(
        name=name,
        running=not ended,
        exit_code=(0 if state == "succeeded" else 1) if ended else None,
        terminated_reason=("Completed" if state == "succeeded" else "Error") if ended else "",
        termination_message=text,
    )
    seen = pod or PodSeen(
        name=metadata["name"] + "-x",
        uid="p",
        labels=metadata["labels"],
        phase={"active": "Running", "succeeded": "Succeeded", "failed": "Failed"}[state],
        containers=(container,),
    )
    references = metadata.get("ownerReferences", [])
    return JobSeen(
        name=metadata["name"],
        uid="job-" + metadata["name"],
        labels=metadata["labels"],
        annotations=metadata["annotations"],
        state=state,  # type: ignore[arg-type]
        created=T0 - timedelta(seconds=60),
        finished_at=finished if ended else None,
        owners=owners if owners is not None else tuple(reference["uid"] for reference in references),
        pods=(seen,),
    )


def rollout_seen(manifest: Mapping[str, Any], **annotations: str) -> RolloutSeen:
    return RolloutSeen(
        name=manifest["metadata"]["name"],
        uid="cr-" + manifest["metadata"]["name"],
        number=manifest["revision"],
        data=RolloutData.model_validate(manifest["data"]),
        annotations={**manifest["metadata"].get("annotations", {}), **annotations},
        created=T0,
    )


def deployment_seen(
    manifest: Mapping[str, Any], *, ready: int = 0, pods: tuple[PodSeen, ...] = ()
) -> DeploymentSeen:
    replicas = manifest["spec"]["replicas"]
    return DeploymentSeen(
        name=manifest["metadata"]["name"],
        uid="d-" + manifest["metadata"]["name"],
        labels=manifest["metadata"]["labels"],
        manifest=manifest,
        replicas=replicas,
        ready_replicas=ready,
        updated_replicas=replicas,
        created=T0,
        owners=tuple(reference["uid"] for reference in manifest["metadata"]["ownerReferences"]),
        pods=pods,
    )


def object_seen(manifest: Mapping[str, Any], owner: str = UID) -> ObjectSeen:
    metadata = manifest["metadata"]
    return ObjectSeen(
        name=metadata["name"],
        uid="o-" + metadata["name"],
        labels=metadata.get("labels", {}),
        annotations=metadata.get("annotations", {}),
        owners=(owner,),
        manifest=manifest,
    )


def server_pod(deployment: Mapping[str, Any], server: ContainerSeen, *, phase: str = "Running") -> PodSeen:
    return PodSeen(
        name=deployment["metadata"]["name"] + "-pod",
        uid="pod",
        labels=deployment["metadata"]["labels"],
        phase=phase,
        containers=(server,),
    )


def fault(code: Reason, message: str = "broken", field: str = "spec.models[0].dali.source") -> Result:
    return Result(fault=Fault(code=code, message=message, field=field))


def out_of_memory(container: str) -> PodSeen:
    killed = ContainerSeen(name=container, exit_code=137, terminated_reason="OOMKilled")
    return PodSeen(name="p", uid="p", labels={}, phase="Failed", containers=(killed,))


def missing_dali() -> Result:
    return Result(lock=LOCK, next=(NextBuild(kind="dali", key=KEY, model="preprocess"),))


def published(revision: str = REVISION) -> Result:
    return Result(lock=LOCK, revision=revision, server=SERVER)
