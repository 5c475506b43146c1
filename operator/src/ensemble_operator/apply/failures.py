"""Failures of actions beyond those of single requests."""

from __future__ import annotations


class ObjectNotOwnedError(Exception):
    """An object of a name the operator needs belongs to somebody else."""

    def __init__(self, *, kind: str, name: str, owner: str) -> None:
        super().__init__(
            f"{kind} {name!r} exists and belongs to {owner}; remove or rename it, or rename this resource"
        )
        self.kind = kind
        self.name = name


class LeavingObjectError(Exception):
    """An object of that name is on its way out: the next try will find the name free."""

    def __init__(self, *, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} of an earlier resource is still being deleted")
