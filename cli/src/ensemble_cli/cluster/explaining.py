"""One paragraph on where an ensemble stands, what it waits for and what to do."""

from __future__ import annotations

from datetime import UTC, datetime

from ensemble_cli.cluster.reading import Found
from ensembles_api.reasons import REASONS, Condition, Reason, ReasonInfo

PATIENCE_SECONDS = 30
"""In which an operator that runs has looked at a change."""


def explain(found: Found, *, now: datetime) -> str:
    """What `why` says."""
    if not found.seen:
        return _unseen(found, now)
    ready = found.condition(Condition.READY.value)
    info = _info(ready.get("reason", ""))
    told = [ready.get("reason", ""), ready.get("message", "")]
    sentences = [_state(found, now), _stop(": ".join(part for part in told if part))]
    if found.ready:
        return " ".join([*sentences, _address(found)]).strip()
    if info:
        sentences += [info.meaning, f"What to do: {info.cure}" if info.cure else "Nothing is to be done."]
    return " ".join([*sentences, _retry(found), _clients(found)]).strip()


def _unseen(found: Found, now: datetime) -> str:
    changed = str(found.document["metadata"]["creationTimestamp"])
    waits = f"the operator has not yet looked at generation {found.generation} of {found.name!r}"
    if found.status.get("observedGeneration", -1) >= 0 or _seconds(changed, now) < PATIENCE_SECONDS:
        return f"{waits}; it does so within seconds, where it runs."
    return (
        f"{waits}, {ago(changed, now)} old: it does not run, or does not watch namespace {found.namespace}. "
        "What to do: kubectl get deployments -A -l app.kubernetes.io/name=ensemble-operator"
    )


def _state(found: Found, now: datetime) -> str:
    if found.ready:
        pinned = found.document["spec"].get("rollout", {}).get("pinRevision")
        as_pinned = f", pinned to revision {short(pinned)}" if pinned else ""
        return f"{found.name!r} serves generation {found.generation}{as_pinned}."
    stalled = found.condition(Condition.STALLED.value)
    since = found.status.get("failingSince")
    for_how_long = f" for {ago(since, now)}" if since else ""
    if stalled.get("status") == "True":
        return f"{found.name!r} is stalled{for_how_long}: somebody must change something."
    if found.document["spec"].get("suspend"):
        return f"{found.name!r} is paused: spec.suspend is true."
    if since:
        return f"{found.name!r} has been held up{for_how_long}, and goes on by itself."
    return f"{found.name!r} is under way."


def _retry(found: Found) -> str:
    attempt, at = found.status.get("attempt"), found.status.get("retryAt")
    if not attempt:
        return ""
    return f"Tried {attempt} time{'s' if attempt > 1 else ''}" + (f"; again at {at}." if at else ".")


def _clients(found: Found) -> str:
    if found.condition(Condition.AVAILABLE.value).get("status") == "True":
        return f"Clients are served meanwhile, by revision {short(found.status.get('revision'))}."
    return "Nothing serves clients meanwhile."


def _address(found: Found) -> str:
    url, entrypoint = found.status.get("url", ""), found.status.get("entrypoint", "")
    return f"Clients ask model {entrypoint!r} at {url}." if url else ""


def _info(reason: str) -> ReasonInfo | None:
    try:
        return REASONS[Reason(reason)]
    except ValueError:  # of a newer operator
        return None


def _stop(message: str) -> str:
    return message if message.endswith((".", "!", "?")) or not message else f"{message}."


def short(digest: object) -> str:
    return str(digest or "")[:12]


def ago(moment: str, now: datetime) -> str:
    """An RFC 3339 moment as an age: 42s, 5m, 3h, 2d."""
    return spell(_seconds(moment, now))


def spell(seconds: int) -> str:
    """A time in its largest unit: 42s, 5m, 3h, 2d."""
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{letter}"
    return f"{seconds}s"


def _seconds(moment: str, now: datetime) -> int:
    return max(0, int((now - datetime.fromisoformat(moment)).total_seconds()))


def utc_now() -> datetime:
    return datetime.now(UTC)
