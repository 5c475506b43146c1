"""Owners of shared build Jobs: one Job builds for every ensemble of a namespace that needs the artifact.

Each further owner adds itself under a field manager of its own, so that nobody writes over another's
reference; Kubernetes' garbage collector deletes the Job with the last of its owners.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

from ensemble_operator.cluster.client import FIELD_MANAGER, KubernetesApi
from ensemble_operator.cluster.errors import ConflictError, NotFoundError
from ensemble_operator.cluster.kinds import ENSEMBLE, JOB

Object = Mapping[str, Any]

_TRIES = 5


class Member(Protocol):
    """The InferenceEnsemble that joins or leaves."""

    @property
    def namespace(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def uid(self) -> str: ...


def add_owner(api: KubernetesApi, member: Member, *, job: str, job_uid: str) -> Object:
    """Become an owner of a Job; returns the Job.

    Raises:
        ConflictError: the Job of that uid is gone.
    """
    reference = {
        "apiVersion": ENSEMBLE.api_version,
        "kind": ENSEMBLE.name,
        "name": member.name,
        "uid": member.uid,
    }
    manifest = {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "metadata": {
            "namespace": member.namespace,
            "name": job,
            "uid": job_uid,
            "ownerReferences": [reference],
        },
    }
    return api.apply(JOB, manifest, field_manager=f"{FIELD_MANAGER}-{member.uid}")


def leave_job(api: KubernetesApi, member: Member, *, job: str, job_uid: str) -> Object | None:
    """Stop being an owner of a Job; the last one deletes it. Returns the Job, None where it is gone.

    Raises:
        ConflictError: others joined and left all the time.
    """
    for _ in range(_TRIES - 1):
        with contextlib.suppress(ConflictError):
            return _try_to_leave(api, member, job=job, job_uid=job_uid)
    return _try_to_leave(api, member, job=job, job_uid=job_uid)


def _try_to_leave(api: KubernetesApi, member: Member, *, job: str, job_uid: str) -> Object | None:
    try:
        return _leave_live(api, member, api.get(JOB, member.namespace, job), job_uid=job_uid)
    except NotFoundError:
        return None


def _leave_live(api: KubernetesApi, member: Member, live: Object, *, job_uid: str) -> Object | None:
    metadata = live["metadata"]
    job = metadata["name"]
    if metadata["uid"] != job_uid:
        return None
    owners = [owner["uid"] for owner in metadata.get("ownerReferences") or ()]
    version = metadata["resourceVersion"]
    if set(owners) <= {member.uid}:
        # The version guards against an owner who joins just now.
        api.delete(JOB, member.namespace, job, uid=job_uid, resource_version=version)
        return None
    if member.uid not in owners:
        return live
    patch = {
        "metadata": {
            "resourceVersion": version,
            "ownerReferences": [{"$patch": "delete", "uid": member.uid}],
        }
    }
    return api.patch(JOB, member.namespace, job, patch, patch_type="strategic")
