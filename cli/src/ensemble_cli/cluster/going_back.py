"""Which rollout of status.history is meant: a number, the beginning of a revision, or the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ensemble_cli.cluster.explaining import short
from ensemble_cli.cluster.reading import Found
from ensemble_cli.exits import CommandError, Exit

FEWEST_DIGITS = 4
"""Of a revision: shorter is taken for a rollout's number."""
SERVED = frozenset({"Promoted", "Superseded", "RolledBack"})

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """A rollout of the history to go back to."""

    number: int
    revision: str
    rollout: str
    outcome: str


def choose(found: Found, wanted: str) -> Choice:
    """The rollout that `wanted` names; empty: the one that served before the present one.

    Raises:
        CommandError: there is none, there are several, or it cannot be pinned.
    """
    records: Sequence[Record] = found.status.get("history", [])
    record = _named(found, records, wanted) if wanted else _before(found, records)
    if record["outcome"] == "Failed":
        raise CommandError(
            f"rollout {record['number']} failed: {record.get('message') or 'its message is gone'}",
            cure=f"choose one that served: kubectl ensemble history {found.name}",
        )
    _refuse_shadowed(found, records, record)
    return Choice(record["number"], record["revision"], record["rollout"], record["outcome"])


def _before(found: Found, records: Sequence[Record]) -> Record:
    """The newest older rollout that served, with another revision: twice in a row goes back twice."""
    serving = next((r for r in records if r["rollout"] == found.status.get("rollout")), None)
    if serving is None:
        raise CommandError(
            f"nothing serves {found.name} yet", cure=f"kubectl ensemble why {found.name}", status=Exit.ABSENT
        )
    for record in records:
        older = record["number"] < serving["number"] and record["revision"] != serving["revision"]
        if older and record["outcome"] in SERVED:
            return record
    raise CommandError(
        f"no rollout before number {serving['number']} served with another revision",
        cure=f"kubectl ensemble history {found.name} shows what there is",
        status=Exit.ABSENT,
    )


def _named(found: Found, records: Sequence[Record], wanted: str) -> Record:
    text = wanted.removeprefix("#").lower()
    if text.isdigit() and len(text) < FEWEST_DIGITS:
        matching = [record for record in records if record["number"] == int(text)]
    else:
        matching = [record for record in records if len(text) >= FEWEST_DIGITS and _begins(record, text)]
    revisions = {record["revision"] for record in matching}
    if len(revisions) > 1:
        raise CommandError(
            f"{wanted!r} begins {len(revisions)} revisions: {', '.join(sorted(map(short, revisions)))}",
            cure="give more digits",
            status=Exit.USAGE,
        )
    if not matching:
        there = ", ".join(f"{record['number']} ({short(record['revision'])})" for record in records)
        raise CommandError(
            f"no rollout {wanted!r} in the history of {found.name}",
            cure=f"there is: {there}" if there else "nothing was rolled out yet",
            status=Exit.ABSENT,
        )
    return next((record for record in matching if record["outcome"] in SERVED), matching[0])


def _begins(record: Record, text: str) -> bool:
    return bool(record["revision"].startswith(text) or record["rollout"] == text)


def _refuse_shadowed(found: Found, records: Sequence[Record], record: Record) -> None:
    """A pin names a revision, and of its rollouts the one that served last is taken."""
    same = [
        other for other in records if other["revision"] == record["revision"] and other["outcome"] in SERVED
    ]
    last = max(same, key=lambda other: str(other.get("promotedAt") or ""), default=record)
    if last["rollout"] != record["rollout"]:
        raise CommandError(
            f"rollouts {record['number']} and {last['number']} of {found.name} serve the same revision, with "
            f"other settings of the servers; a pin would take {last['number']}",
            cure="apply the settings of spec.serving that are wanted instead",
        )
