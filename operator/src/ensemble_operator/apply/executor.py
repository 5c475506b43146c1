"""Carries out actions, one request each where possible, and keeps the cache no older than the writes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ensemble_operator.apply.failures import LeavingObjectError
from ensemble_operator.apply.ownership import check_ours
from ensemble_operator.apply.shared_jobs import add_owner, leave_job
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import AlreadyExistsError, ConflictError, NotFoundError
from ensemble_operator.cluster.kinds import DEPLOYMENT, ENSEMBLE, Kind, kind_named
from ensemble_operator.plan.actions import (
    Action,
    AddOwner,
    Annotate,
    Apply,
    Create,
    Delete,
    LeaveJob,
    Scale,
    SetFinalizer,
)
from ensembles_api.names import FINALIZER

Object = Mapping[str, Any]

_TRIES = 5
"""For writes that must not lose somebody else's change in between."""


class Recorder(Protocol):
    """Where written objects are kept, so that the next look is not older than the write."""

    def store(self, manifest: Object) -> bool: ...

    def forget(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None: ...

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None: ...


@dataclass(frozen=True)
class Target:
    """The InferenceEnsemble on whose behalf the actions are."""

    namespace: str
    name: str
    uid: str


class Executor:
    """Carries out actions. Usable from several threads."""

    def __init__(self, api: KubernetesApi, recorder: Recorder) -> None:
        self._api = api
        self._recorder = recorder

    def execute(self, action: Action, target: Target) -> bool:
        """Do one thing.

        Returns:
            Whether the cluster changed by it.

        Raises:
            ObjectNotOwnedError: the name is taken by a stranger's object.
            LeavingObjectError: the name is taken by an object that is being deleted.
            ensemble_operator.cluster.errors.ApiError: the request failed.
        """
        match action:
            case Create(manifest):
                return self._create(manifest, target)
            case Apply(manifest):
                return self._apply(manifest, target)
            case AddOwner(job, job_uid):
                joined = add_owner(self._api, target, job=job, job_uid=job_uid)
                return self._written(kind_named("Job"), joined)
            case LeaveJob(job, job_uid):
                return self._leave(target, job=job, job_uid=job_uid)
            case Annotate(kind, name, uid, annotations):
                patch = {"metadata": {"uid": uid, "annotations": dict(annotations)}}
                annotated = self._api.patch(kind_named(kind), target.namespace, name, patch)
                return self._written(kind_named(kind), annotated)
            case Delete(kind, name, uid):
                return self._delete(kind_named(kind), target.namespace, name, uid)
            case Scale(deployment, replicas):
                return self._scale(target, deployment, replicas)
            case SetFinalizer(present):
                return self._set_finalizer(target, present=present)

    def _create(self, manifest: Object, target: Target) -> bool:
        kind = kind_named(manifest["kind"])
        try:
            created = self._api.create(kind, manifest)
        except AlreadyExistsError:
            live = self._get(kind, target.namespace, manifest["metadata"]["name"])
            if live is None:
                raise LeavingObjectError(kind=kind.name, name=manifest["metadata"]["name"]) from None
            check_ours(live, manifest, uid=target.uid)
            return self._labelled(kind, live, manifest)
        self._recorder.store(created)
        return True

    def _labelled(self, kind: Kind, live: Object, wanted: Object) -> bool:
        """Put back labels that somebody took off an object of ours: without them no look finds it."""
        labels, there = wanted["metadata"].get("labels") or {}, live["metadata"].get("labels") or {}
        if labels.items() <= there.items():
            self._recorder.store(live)
            return False
        metadata = live["metadata"]
        patch = {"metadata": {"uid": metadata["uid"], "labels": labels}}
        return self._written(kind, self._api.patch(kind, metadata["namespace"], metadata["name"], patch))

    def _apply(self, manifest: Object, target: Target) -> bool:
        kind, name = kind_named(manifest["kind"]), manifest["metadata"]["name"]
        # The watch shows only what carries our labels: ask before writing over a stranger's object.
        live = self._recorder.get(kind, target.namespace, name) or self._get(kind, target.namespace, name)
        if live is not None:
            check_ours(live, manifest, uid=target.uid)
            manifest = {**manifest, "metadata": {**manifest["metadata"], "uid": live["metadata"]["uid"]}}
        try:
            return self._written(kind, self._api.apply(kind, manifest), before=live)
        except ConflictError:
            if live is not None:
                self._recorder.forget(kind, target.namespace, name, uid=live["metadata"]["uid"])
            raise

    def _leave(self, target: Target, *, job: str, job_uid: str) -> bool:
        left = leave_job(self._api, target, job=job, job_uid=job_uid)
        if left is not None:
            return self._written(kind_named("Job"), left)
        return self._forget(kind_named("Job"), target.namespace, job, job_uid)

    def _delete(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        try:
            answer = self._api.delete(kind, namespace, name, uid=uid)
        except (NotFoundError, ConflictError):
            # Gone already, or another object has the name: the one that was meant is no more.
            return self._forget(kind, namespace, name, uid)
        if answer["kind"] == kind.name:
            return self._written(kind, answer)  # something still holds it
        return self._forget(kind, namespace, name, uid)

    def _scale(self, target: Target, deployment: str, replicas: int) -> bool:
        scale = {"spec": {"replicas": replicas}}
        self._api.patch(DEPLOYMENT, target.namespace, deployment, scale, subresource="scale")
        # The answer is a Scale, not the Deployment that the next look must see.
        return self._written(DEPLOYMENT, self._api.get(DEPLOYMENT, target.namespace, deployment))

    def _written(self, kind: Kind, written: Object, *, before: Object | None = None) -> bool:
        """Keep what a write returned; whether it differs from what was there."""
        metadata = written["metadata"]
        before = before or self._recorder.get(kind, metadata["namespace"], metadata["name"])
        self._recorder.store(written)
        return before is None or before["metadata"]["resourceVersion"] != metadata["resourceVersion"]

    def _forget(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        self._recorder.forget(kind, namespace, name, uid=uid)
        return True

    def _set_finalizer(self, target: Target, *, present: bool) -> bool:
        """Put our finalizer on, or take it off, leaving others' as they are."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(ConflictError):
                return self._try_finalizer(target, present=present)
        return self._try_finalizer(target, present=present)

    def _try_finalizer(self, target: Target, *, present: bool) -> bool:
        live = self._get(ENSEMBLE, target.namespace, target.name)
        if live is None or live["metadata"]["uid"] != target.uid:
            return self._forget(ENSEMBLE, target.namespace, target.name, target.uid)
        before = list(live["metadata"].get("finalizers") or ())
        if present == (FINALIZER in before):
            self._recorder.store(live)
            return False
        after = [*before, FINALIZER] if present else [item for item in before if item != FINALIZER]
        version = live["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version, "finalizers": after}}
        written = self._api.patch(ENSEMBLE, target.namespace, target.name, patch)
        if not after and "deletionTimestamp" in written["metadata"]:
            return self._forget(ENSEMBLE, target.namespace, target.name, target.uid)
        self._recorder.store(written)
        return True

    def _get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        try:
            return self._api.get(kind, namespace, name)
        except NotFoundError:
            return None
