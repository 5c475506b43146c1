"""What the Kubernetes API may answer, as types: each asks for another reaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ApiError(Exception):
    """A request failed.

    Attributes:
        status: HTTP status, 0 where there was no answer.
        reason: the reason word of the API's Status document, e.g. AlreadyExists.
        message: readable text, the API's own where there was one.
        request: method and path.
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "", request: str = "") -> None:
        super().__init__(f"{request}: {message}" if request else message)
        self.status = status
        self.reason = reason
        self.message = message
        self.request = request


class UnavailableError(ApiError):
    """No answer, a server error, or too many requests: the same request may succeed later."""

    retry_after: float = 0.0
    """Seconds the server asked to wait."""


class NotFoundError(ApiError):
    """The object (or its namespace) does not exist."""


class AlreadyExistsError(ApiError):
    """An object of that name exists."""


class ConflictError(ApiError):
    """The object is not the one expected: another uid or a newer version."""


class ExpiredError(ApiError):
    """A list's continuation is too old."""


@dataclass(frozen=True)
class Cause:
    """One field the API server refuses."""

    field: str
    message: str


class InvalidError(ApiError):
    """The API server refuses the object's content."""

    causes: tuple[Cause, ...] = ()


class ForbiddenError(ApiError):
    """Permissions or an admission rule forbid it."""


class QuotaExceededError(ForbiddenError):
    """A ResourceQuota leaves no room."""


class NamespaceTerminatingError(ForbiddenError):
    """The namespace is being deleted: nothing can be created in it."""


def error_from(*, status: int, body: bytes, request: str, retry_after: str | None = None) -> ApiError:
    """The typed error for an answer with a status of 400 or more."""
    document = _status_document(body)
    reason = str(document.get("reason") or "")
    message = str(document.get("message") or body[:500].decode(errors="replace") or f"HTTP {status}")
    causes = _causes(document)
    error = _error_type(status=status, reason=reason, message=message, causes=causes)(
        message, status=status, reason=reason, request=request
    )
    if isinstance(error, InvalidError):
        error.causes = tuple(Cause(field=field, message=text) for _, field, text in causes)
    if isinstance(error, UnavailableError) and retry_after and retry_after.isdigit():
        error.retry_after = float(retry_after)
    return error


def _error_type(
    *, status: int, reason: str, message: str, causes: list[tuple[str, str, str]]
) -> type[ApiError]:
    match status:
        case 404:
            return NotFoundError
        case 409:
            return AlreadyExistsError if reason == "AlreadyExists" else ConflictError
        case 410:
            return ExpiredError
        case 403 if any(kind == "NamespaceTerminating" for kind, _, _ in causes):
            return NamespaceTerminatingError
        case 403 if "exceeded quota" in message or "failed quota" in message:
            return QuotaExceededError
        case 401 | 403:
            return ForbiddenError
        case 422 if any(field == "metadata.uid" for _, field, _ in causes):
            return ConflictError  # server-side apply says "immutable" where the uid is another object's
        case 400 | 422:
            return InvalidError
        case _:
            return UnavailableError


def _status_document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _causes(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    details = document.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [
        (str(cause.get("reason") or ""), str(cause.get("field") or ""), str(cause.get("message") or ""))
        for cause in causes or ()
    ]
