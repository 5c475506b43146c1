"""New servers against old ones: counts and bounds -> verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ensemble_builder.commands.analyse.metrics import Counts

COMPARABLE = 5
"""The mean of fewer answers is chance."""
HOPELESS_PERCENT = 50
"""Where more of the requests to the new servers fail, nobody has to wait for the end."""


@dataclass(frozen=True)
class Bounds:
    """spec.rollout.analysis.

    Args:
        max_error_percent: points by which the new servers' share of failures may exceed that of the old.
        max_latency_percent: mean duration at the new servers in percent of that at the old ones.
        min_requests: to the new servers; fewer give no verdict.
    """

    max_error_percent: int
    max_latency_percent: int
    min_requests: int


@dataclass(frozen=True)
class Verdict:
    """`text` gives the figures; of a failure, with the bound that was exceeded and its field."""

    outcome: Literal["passed", "failed", "open"]
    text: str
    field: str = ""


def judge(new: Counts, old: Counts, bounds: Bounds) -> Verdict:
    """By failures first. Durations are compared only where both sides answered enough."""
    figures = f"new servers: {described(new)}; old servers: {described(old)}"
    if total(new) < bounds.min_requests:
        few = f"{total(new)} requests reached the new servers, {bounds.min_requests} are needed"
        return Verdict("open", few, "spec.rollout.analysis.minRequests")
    more = error_percent(new) - error_percent(old)
    if more > bounds.max_error_percent:
        bound = f"{more:.1f} points more than the old servers' fail, {bounds.max_error_percent} are allowed"
        return Verdict("failed", f"{bound} ({figures})", "spec.rollout.analysis.maxErrorPercent")
    slower = latency_percent(new, old)
    if slower is not None and slower > bounds.max_latency_percent:
        bound = f"requests take {slower:.0f} % of the old servers' time"
        bound += f", allowed are {bounds.max_latency_percent} %"
        return Verdict("failed", f"{bound} ({figures})", "spec.rollout.analysis.maxLatencyPercent")
    return Verdict("passed", figures)


def is_hopeless(new: Counts, old: Counts, bounds: Bounds) -> bool:
    """Whether the measurement may end early: it is failing, and not by a narrow margin."""
    return error_percent(new) > HOPELESS_PERCENT and judge(new, old, bounds).outcome == "failed"


def total(counts: Counts) -> int:
    return counts.answered + counts.failed


def error_percent(counts: Counts) -> float:
    return 100 * counts.failed / total(counts) if total(counts) else 0.0


def mean_milliseconds(counts: Counts) -> float:
    return counts.spent / counts.answered / 1000 if counts.answered else 0.0


def latency_percent(new: Counts, old: Counts) -> float | None:
    """Mean of the new in percent of the old; None where either has too few answers, or no measured time."""
    if min(new.answered, old.answered) < COMPARABLE or not old.spent:
        return None
    return 100 * mean_milliseconds(new) / mean_milliseconds(old)


def described(counts: Counts) -> str:
    if not total(counts):
        return "no requests"
    mean = f", {mean_milliseconds(counts):.1f} ms on average" if counts.answered else ""
    return f"{counts.failed} of {total(counts)} requests failed ({error_percent(counts):.1f} %){mean}"
