"""What the planner may ask for. `ensemble_operator.apply` carries these out in order; each is idempotent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class Create:
    """POST. An object of that name that is ours is success; one that is not is ObjectNotOwned."""

    manifest: Manifest


@dataclass(frozen=True)
class Apply:
    """Server-side apply with force, under our field manager; only ever of objects we own."""

    manifest: Manifest


@dataclass(frozen=True)
class AddOwner:
    """Become a further owner of a shared build Job, under this ensemble's own field manager."""

    job: str
    job_uid: str


@dataclass(frozen=True)
class Annotate:
    """Merge annotations of an object we own."""

    kind: str
    name: str
    uid: str
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Delete:
    """Delete with propagationPolicy Background and a uid precondition; absence is success."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class LeaveJob:
    """Take our owner reference off a shared build Job; the last owner's leaving deletes it."""

    job: str
    job_uid: str


@dataclass(frozen=True)
class Scale:
    """PATCH deployments/scale."""

    deployment: str
    replicas: int


@dataclass(frozen=True)
class SetFinalizer:
    present: bool


Action = Create | Apply | AddOwner | Annotate | Delete | LeaveJob | Scale | SetFinalizer


@dataclass(frozen=True)
class Event:
    """An Event on the resource, on a transition only."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """One pass: actions in order, then the status, then the Events; look again at `wake` at the latest."""

    actions: tuple[Action, ...] = ()
    status: Mapping[str, Any] | None = None
    """The whole status to write; None leaves it (deletion is over)."""
    events: tuple[Event, ...] = ()
    wake: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """For metrics: stage and reason."""
