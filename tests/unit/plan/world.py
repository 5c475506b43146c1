"""Observations written down: the spec under test, and children as they look after the cluster acted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from ensemble_operator.config import OperatorConfig, Release
from ensemble_operator.names import COUNTING_CONTAINER
from ensemble_operator.plan.actions import (
    Action,
    Annotate,
    Apply,
    Create,
    Delete,
    LeaveJob,
    Plan,
    Scale,
    SetFinalizer,
)
from ensemble_operator.plan.observation import (
    ContainerSeen,
    DeploymentSeen,
    JobSeen,
    ObjectSeen,
    Observation,
    PodSeen,
    RolloutSeen,
)
from ensemble_operator.plan.planner import plan
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.contract import (
    Fault,
    NextBuild,
    Result,
    ServerRequirements,
    VerificationSummary,
    Versions,
)
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


class Story:
    """Plays the cluster's part: what the planner asks for comes to be, and states are set by hand."""

    def __init__(self, **changes: Any) -> None:
        self.seen = observation(**changes)
        self.last = Plan()

    def step(self, seconds: float = 1, *, killed_after: int | None = None) -> Plan:
        """Plan, then act; `killed_after` so many actions the operator dies, without a status."""
        self.seen = replace(self.seen, now=self.seen.now + timedelta(seconds=seconds))
        self.last = plan(self.seen, CONFIG)
        for action in self.last.actions[:killed_after]:
            self._take(action)
        if self.last.status is not None and killed_after is None:
            self.seen = replace(self.seen, status=self.last.status)
        return self.last

    def _take(self, action: Action) -> None:
        if isinstance(action, Create | Apply):
            self._put(action.manifest)
        elif isinstance(action, Delete):
            self._drop(action.kind, action.name)
        elif isinstance(action, LeaveJob):
            self._drop("Job", action.job)
        elif isinstance(action, Annotate):
            self._annotate(action)
        elif isinstance(action, Scale):
            self._scale(action)
        elif isinstance(action, SetFinalizer):
            finalizers = ("ensembles.dev/storage",) if action.present else ()
            self.seen = replace(self.seen, finalizers=finalizers)

    def _put(self, manifest: Mapping[str, Any]) -> None:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        seen = self.seen
        if kind == "Job":
            if not any(job.name == name for job in seen.jobs):
                job = replace(job_seen(manifest), created=seen.now)
                self.seen = replace(seen, jobs=(*seen.jobs, job))
        elif kind == "Deployment":
            old = next((d for d in seen.deployments if d.name == name), None)
            if old is None:
                self.seen = replace(seen, deployments=(*seen.deployments, deployment_seen(manifest)))
            else:
                merged = replace(
                    old, manifest={**manifest, "spec": {"replicas": old.replicas, **manifest["spec"]}}
                )
                rest = tuple(d for d in seen.deployments if d.name != name)
                self.seen = replace(seen, deployments=(*rest, merged))
        elif kind == "ControllerRevision":
            self.seen = replace(seen, rollouts=(*seen.rollouts, rollout_seen(manifest)))
        elif kind == "Service":
            rest_services = tuple(s for s in seen.services if s.name != name)
            self.seen = replace(seen, services=(*rest_services, object_seen(manifest)))
        elif kind == "PodDisruptionBudget":
            rest_budgets = tuple(b for b in seen.budgets if b.name != name)
            self.seen = replace(seen, budgets=(*rest_budgets, object_seen(manifest)))
        elif kind in {"HTTPRoute", "GRPCRoute"}:
            self._put_route(manifest)
        elif kind in {"HorizontalPodAutoscaler", "ScaledObject"}:
            rest_scalers = tuple(a for a in seen.autoscalers if a.name != name)
            self.seen = replace(seen, autoscalers=(*rest_scalers, object_seen(manifest)))
        elif kind == "ConfigMap":
            self.seen = replace(seen, requests=(*seen.requests, object_seen(manifest)))

    def _put_route(self, manifest: Mapping[str, Any]) -> None:
        before = [seen for seen in self.seen.routes.found if seen.manifest["kind"] == manifest["kind"]]
        rest = [seen for seen in self.seen.routes.found if seen not in before]
        generation = 1 + (before[0].manifest["metadata"]["generation"] if before else 0)
        status = before[0].manifest.get("status", {}) if before else {}
        metadata = {**manifest["metadata"], "generation": generation}
        put = object_seen({**manifest, "metadata": metadata, "status": status})
        self.seen = replace(self.seen, routes=replace(self.seen.routes, found=(*rest, put)))

    def gateway_says(self, *, accepted: bool = True, message: str = "") -> None:
        """The Gateway's verdict on the routes as they are now."""
        found = []
        for seen in self.seen.routes.found:
            condition = {
                "type": "Accepted",
                "status": str(accepted),
                "reason": "Accepted" if accepted else "NoMatchingListenerHostname",
                "message": message,
                "observedGeneration": seen.manifest["metadata"]["generation"],
            }
            status = {"parents": [{"parentRef": {"name": "public"}, "conditions": [condition]}]}
            found.append(replace(seen, manifest={**seen.manifest, "status": status}))
        self.seen = replace(self.seen, routes=replace(self.seen.routes, found=tuple(found)))

    def _drop(self, kind: str, name: str) -> None:
        if kind in {"HTTPRoute", "GRPCRoute"}:
            left = tuple(seen for seen in self.seen.routes.found if seen.manifest["kind"] != kind)
            self.seen = replace(self.seen, routes=replace(self.seen.routes, found=left))
            return
        field = {
            "Job": "jobs",
            "Deployment": "deployments",
            "Service": "services",
            "PodDisruptionBudget": "budgets",
            "HorizontalPodAutoscaler": "autoscalers",
            "ScaledObject": "autoscalers",
            "ConfigMap": "requests",
            "ControllerRevision": "rollouts",
        }[kind]
        others = tuple(seen for seen in getattr(self.seen, field) if seen.name != name)
        self.seen = replace(self.seen, **{field: others})  # type: ignore[arg-type]

    def _annotate(self, action: Annotate) -> None:
        rollouts = tuple(
            replace(r, annotations={**r.annotations, **action.annotations}) if r.name == action.name else r
            for r in self.seen.rollouts
        )
        self.seen = replace(self.seen, rollouts=rollouts)

    def _scale(self, action: Scale) -> None:
        deployments = tuple(
            replace(
                d,
                replicas=action.replicas,
                ready_replicas=min(d.ready_replicas, action.replicas),
                pods=d.pods[: action.replicas],
            )
            if d.name == action.deployment
            else d
            for d in self.seen.deployments
        )
        self.seen = replace(self.seen, deployments=deployments)

    def jobs(self, role: str) -> list[JobSeen]:
        return [job for job in self.seen.jobs if job.labels["ensembles.dev/role"] == role]

    def end(self, role: str, state: str = "succeeded", **kwargs: Any) -> None:
        """The newest active Job of this role ends."""
        job = [j for j in self.jobs(role) if j.state == "active"][-1]
        manifest = {
            "metadata": {
                "name": job.name,
                "labels": job.labels,
                "annotations": job.annotations,
                "ownerReferences": [{"uid": uid} for uid in job.owners],
            }
        }
        ended = replace(
            job_seen(manifest, state, **{"finished": self.seen.now, **kwargs}), created=job.created
        )
        self.seen = replace(self.seen, jobs=tuple(ended if j.name == job.name else j for j in self.seen.jobs))

    def servers_ready(self, rollout: str | None = None) -> None:
        self.seen = replace(
            self.seen,
            endpoints_ready=True,
            deployments=tuple(
                replace(d, ready_replicas=d.replicas, updated_replicas=d.replicas, pods=self._ready_pods(d))
                if rollout is None or d.labels["ensembles.dev/rollout"] == rollout
                else d
                for d in self.seen.deployments
            ),
        )

    def _ready_pods(self, deployment: DeploymentSeen) -> tuple[PodSeen, ...]:
        """As many as there shall be; those that were ready stay so since then."""
        ready = [
            replace(pod, ready=True, ready_since=pod.ready_since or self.seen.now) for pod in deployment.pods
        ]
        made = [
            PodSeen(
                name=f"{deployment.name}-{number}",
                uid=f"{deployment.name}-{number}",
                labels=deployment.labels,
                phase="Running",
                ready=True,
                ready_since=self.seen.now,
                created=self.seen.now,
            )
            for number in range(len(ready), deployment.replicas)
        ]
        return (*ready, *made)[: deployment.replicas]

    def change(self, **changes: Any) -> None:
        """The user applies another spec."""
        self.seen = replace(self.seen, spec=spec(**changes), generation=self.seen.generation + 1)

    def until_published(self, revision: str = REVISION) -> None:
        self.step()
        self.end("assemble", result=missing_dali())
        self.step()
        self.end("build", result=Result())
        self.step()
        self.end("assemble", result=published(revision))
        self.step()

    def until_ready(self, revision: str = REVISION) -> None:
        self.until_published(revision)
        self.verify_and_promote()

    def verify_and_promote(self) -> None:
        self.step()
        self.servers_ready()
        self.end("verify", result=VERIFIED)
        for _ in range(8):
            self.step(2)
            self.servers_ready()

    @property
    def reason(self) -> str:
        ready = condition(self.last, "Ready")
        assert ready is not None
        return str(ready["reason"])

    @property
    def active(self) -> str | None:
        assert self.last.status is not None
        return self.last.status.get("rollout")

    def cluster_moves(self, revision: str) -> None:
        """Every Job that runs ends well, every server gets ready: the kindest of clusters."""
        for job in [j for j in self.seen.jobs if j.state == "active"]:
            role = job.labels["ensembles.dev/role"]
            result = VERIFIED if role == "verify" else Result()
            if role == "assemble":
                again = int(job.annotations["ensembles.dev/round"]) > 1
                result = published(revision) if again else missing_dali()
            self.end(role, result=result)
        self.servers_ready()
