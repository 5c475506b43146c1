"""What a refused action means for the user: reason, field and cure."""

from __future__ import annotations

from dataclasses import dataclass

from ensemble_operator.apply.failures import ObjectNotOwnedError
from ensemble_operator.cluster.errors import (
    ApiError,
    ConflictError,
    InvalidError,
    NamespaceTerminatingError,
    NotFoundError,
    QuotaExceededError,
)
from ensemble_operator.plan.actions import Action, Apply, Create
from ensembles_api.reasons import Reason

_SETTINGS = {"Deployment": "spec.serving", "Job": "spec.build"}
"""Where the user's part of a manifest comes from."""


@dataclass(frozen=True)
class Explanation:
    reason: Reason
    field: str
    message: str


def explain(error: Exception, action: Action) -> Explanation | None:
    """None where the next try is expected to go well and nobody needs to know."""
    match error:
        case ObjectNotOwnedError():
            return Explanation(Reason.OBJECT_NOT_OWNED, "metadata.name", str(error))
        case NamespaceTerminatingError() | ConflictError() | NotFoundError():
            return None
        case QuotaExceededError():
            return Explanation(Reason.QUOTA_EXCEEDED, "", error.message)
        case InvalidError() if (field := _SETTINGS.get(_kind(action))) is not None:
            return Explanation(Reason.INVALID_POD_SETTINGS, field, _invalid(error, _kind(action)))
        case InvalidError() if _kind(action) in {"HTTPRoute", "GRPCRoute"}:
            return Explanation(Reason.INVALID_SPEC, "spec.gateway", _invalid(error, _kind(action)))
        case InvalidError() if _kind(action) == "ConfigMap":
            return Explanation(Reason.INVALID_SPEC, "spec.models", _too_large(error))
        case InvalidError() if _kind(action) in {"HorizontalPodAutoscaler", "ScaledObject"}:
            message = _invalid(error, _kind(action))
            return Explanation(Reason.INVALID_SPEC, "spec.autoscaling", message)
        case ApiError():
            return Explanation(Reason.API_UNAVAILABLE, "", str(error))
        case _:
            return None


def _kind(action: Action) -> str:
    return str(action.manifest["kind"]) if isinstance(action, Create | Apply) else ""


def _too_large(error: InvalidError) -> str:
    return (
        "the models do not fit into the ConfigMap that carries them to the assembler: move inline sources to "
        f"ConfigMaps or to storage ({error.message})"
    )


def _invalid(error: InvalidError, kind: str) -> str:
    causes = "; ".join(f"{cause.field}: {cause.message}" for cause in error.causes)
    return f"the API server refuses the {kind}: {causes or error.message}"
