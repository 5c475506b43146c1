"""Answers of the API server, as bytes from a real one, and what the user is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ensemble_operator.apply.failures import LeavingObjectError, ObjectNotOwnedError
from ensemble_operator.apply.ownership import check_ours
from ensemble_operator.cluster.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NamespaceTerminatingError,
    NotFoundError,
    QuotaExceededError,
    UnavailableError,
    error_from,
)
from ensemble_operator.explain import explain
from ensemble_operator.plan.actions import Create, Delete
from ensembles_api.reasons import Reason

DEPLOYMENT = Create({"kind": "Deployment", "metadata": {"name": "d"}})


UID_CAUSE = {"reason": "FieldValueInvalid", "field": "metadata.uid", "message": "field is immutable"}
ENDING_CAUSE = {"reason": "NamespaceTerminating", "field": "metadata.namespace", "message": "is ending"}
TOLERATION = "spec.template.spec.tolerations[0].operator"


def answer(status: int, **document: Any) -> ApiError:
    return error_from(status=status, body=json.dumps(document).encode(), request="POST /x")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answer(404, reason="NotFound", message="gone"), NotFoundError),
        (answer(409, reason="AlreadyExists", message="there"), AlreadyExistsError),
        (answer(409, reason="Conflict", message="uid"), ConflictError),
        (
            answer(
                422,
                reason="Invalid",
                message='ConfigMap "t" is invalid: metadata.uid: Invalid value: "zz": field is immutable',
                details={"causes": [UID_CAUSE]},
            ),
            ConflictError,
        ),
        (answer(422, reason="Invalid", message="no"), InvalidError),
        (answer(400, reason="BadRequest", message="no"), InvalidError),
        (answer(403, reason="Forbidden", message="pods is forbidden: User cannot create"), ForbiddenError),
        (
            answer(403, reason="Forbidden", message='pods "p" is forbidden: exceeded quota: none, requested'),
            QuotaExceededError,
        ),
        (
            answer(
                403,
                reason="Forbidden",
                message="unable to create new content in namespace n because it is being terminated",
                details={"causes": [ENDING_CAUSE]},
            ),
            NamespaceTerminatingError,
        ),
        (answer(429, reason="TooManyRequests", message="slow"), UnavailableError),
        (answer(500, message="oops"), UnavailableError),
        (answer(504, message="timeout"), UnavailableError),
    ],
)  # fmt: skip
def test_answers_are_told_apart(error: ApiError, expected: type[ApiError]) -> None:
    assert type(error) is expected


def test_answer_of_a_proxy_that_is_no_json() -> None:
    error = error_from(status=502, body=b"<html>bad gateway", request="GET /x", retry_after="7")
    assert isinstance(error, UnavailableError)
    assert error.retry_after == 7
    assert "bad gateway" in str(error)


def test_refused_pod_settings_name_the_field() -> None:
    error = answer(
        422,
        reason="Invalid",
        message="long",
        details={
            "causes": [
                {"field": "spec.template.spec.tolerations[0].operator", "message": "Unsupported value"}
            ]
        },
    )
    told = explain(error, DEPLOYMENT)
    assert told is not None
    assert (told.reason, told.field) == (Reason.INVALID_POD_SETTINGS, "spec.serving")
    assert f"{TOLERATION}: Unsupported value" in told.message


def test_a_request_too_large_for_its_config_map_is_the_users_to_mend() -> None:
    cause = {"field": "", "message": "Too long: may not be more than 1048576 bytes"}
    error = answer(422, reason="Invalid", message=cause["message"], details={"causes": [cause]})
    told = explain(error, Create({"kind": "ConfigMap", "metadata": {"name": "c"}}))
    assert told is not None
    assert (told.reason, told.field) == (Reason.INVALID_SPEC, "spec.models")
    assert "move inline sources" in told.message
    assert "1048576 bytes" in told.message


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ObjectNotOwnedError(kind="Service", name="s", owner="nobody"), Reason.OBJECT_NOT_OWNED),
        (answer(403, message="exceeded quota: q"), Reason.QUOTA_EXCEEDED),
        (answer(503, message="down"), Reason.API_UNAVAILABLE),
        (answer(403, message="User cannot"), Reason.API_UNAVAILABLE),
        (answer(409, reason="Conflict"), None),
        (answer(404), None),
        (LeavingObjectError(kind="Job", name="j"), None),
    ],
)
def test_what_the_user_is_told(error: Exception, reason: Reason | None) -> None:
    told = explain(error, Delete("Job", "j", "u"))
    assert (told.reason if told else None) == reason


def owned(
    uid: str, *, kind: str = "InferenceEnsemble", name: str = "demo", **metadata: Any
) -> dict[str, Any]:
    owner = {"apiVersion": "v", "kind": kind, "name": name, "uid": uid, "controller": True}
    return {"kind": "Service", "metadata": {"name": "demo", "ownerReferences": [owner], **metadata}}


def test_ownership() -> None:
    wanted = owned("me")
    check_ours(owned("me"), wanted, uid="me")
    with pytest.raises(ObjectNotOwnedError, match="belongs to nobody the operator knows; remove or rename"):
        check_ours({"kind": "Service", "metadata": {"name": "demo"}}, wanted, uid="me")
    with pytest.raises(ObjectNotOwnedError, match="belongs to Deployment 'web'"):
        check_ours(owned("x", kind="Deployment", name="web"), wanted, uid="me")
    with pytest.raises(ObjectNotOwnedError, match="belongs to InferenceEnsemble 'other'"):
        check_ours(owned("x", name="other"), wanted, uid="me")
    with pytest.raises(LeavingObjectError):
        check_ours(owned("former"), wanted, uid="me")
    with pytest.raises(LeavingObjectError):
        check_ours(owned("me", deletionTimestamp="2026-11-21T00:41:00Z"), wanted, uid="me")


def shared(**labels: str) -> dict[str, Any]:
    return {"kind": "Job", "metadata": {"name": "build-x", "labels": labels}}


def test_shared_build_job_is_known_by_its_labels() -> None:
    labels = {
        "app.kubernetes.io/managed-by": "ensemble-operator",
        "ensembles.dev/role": "build",
        "ensembles.dev/key": "k",
    }
    wanted = shared(**labels)
    wanted["metadata"]["ownerReferences"] = [{"kind": "InferenceEnsemble", "name": "demo", "uid": "me"}]
    check_ours(shared(**labels), wanted, uid="me")
    with pytest.raises(ObjectNotOwnedError):
        check_ours(shared(**(labels | {"ensembles.dev/key": "other"})), wanted, uid="me")
    with pytest.raises(ObjectNotOwnedError):
        check_ours(shared(), wanted, uid="me")
