"""A cluster's part, played: what the planner asks for comes to be, and states are set by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

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
from ensemble_operator.plan.observation import DeploymentSeen, JobSeen, ObjectSeen, PodSeen
from ensemble_operator.plan.planner import plan
from ensembles_api.contract import Result
from tests.unit.plan.world import (
    CONFIG,
    REVISION,
    SPEC,
    VERIFIED,
    condition,
    deployment_seen,
    job_seen,
    missing_dali,
    object_seen,
    observation,
    published,
    rollout_seen,
    spec,
)

FIELDS = {
    "Job": "jobs",
    "Deployment": "deployments",
    "Service": "services",
    "PodDisruptionBudget": "budgets",
    "HorizontalPodAutoscaler": "autoscalers",
    "ScaledObject": "autoscalers",
    "ConfigMap": "requests",
    "ControllerRevision": "rollouts",
}
"""Where an Observation holds the objects of a kind."""


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
        kind, seen = manifest["kind"], self.seen
        if kind == "Job":
            if not any(job.name == manifest["metadata"]["name"] for job in seen.jobs):
                job = replace(job_seen(manifest), created=seen.now)
                self.seen = replace(seen, jobs=(*seen.jobs, job))
        elif kind == "Deployment":
            self._put_deployment(manifest)
        elif kind == "ControllerRevision":
            self.seen = replace(seen, rollouts=(*seen.rollouts, rollout_seen(manifest)))
        elif kind in {"HTTPRoute", "GRPCRoute"}:
            self._put_route(manifest)
        else:
            put = object_seen(manifest)
            others = tuple(other for other in getattr(seen, FIELDS[kind]) if other.name != put.name)
            self.seen = replace(seen, **{FIELDS[kind]: (*others, put)})  # type: ignore[arg-type]

    def _put_deployment(self, manifest: Mapping[str, Any]) -> None:
        """One that is there keeps its number of servers, which is not applied."""
        put, seen = deployment_seen(manifest), self.seen
        old = next((d for d in seen.deployments if d.name == put.name), None)
        if old is not None:
            spec = {"replicas": old.replicas, **manifest["spec"]}
            put = replace(old, manifest={**manifest, "spec": spec})
        rest = tuple(d for d in seen.deployments if d.name != put.name)
        self.seen = replace(seen, deployments=(*rest, put))

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
        others = tuple(seen for seen in getattr(self.seen, FIELDS[kind]) if seen.name != name)
        self.seen = replace(self.seen, **{FIELDS[kind]: others})  # type: ignore[arg-type]

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

    def set_job(self, job: JobSeen, **changes: Any) -> None:
        """What is seen of a Job becomes so."""
        jobs = (replace(j, **changes) if j.name == job.name else j for j in self.seen.jobs)
        self.seen = replace(self.seen, jobs=tuple(jobs))

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

    def assemble(self, result: Result) -> None:
        """An assembler begins, ends with this, and is listened to."""
        self.step()
        self.end("assemble", result=result)
        self.step()

    def until_building(self) -> None:
        self.assemble(missing_dali())

    def until_published(self, revision: str = REVISION) -> None:
        self.until_building()
        self.end("build", result=Result())
        self.assemble(published(revision))

    def bring_up_second(self, revision: str) -> str:
        """A second revision's servers are there beside those of the first, which is given."""
        self.until_ready()
        first = str(self.active)
        self.change(models=SPEC["models"][:2])
        self.until_published(revision)
        self.step()
        return first

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
    def service(self) -> ObjectSeen:
        """The ensemble's own."""
        return next(service for service in self.seen.services if service.name == self.seen.name)

    @property
    def selector(self) -> dict[str, str]:
        return dict(self.service.manifest["spec"]["selector"])

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
