"""What a proof found, as rows and as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ensemble_builder.compilers.tensorrt.accuracy import Comparison
from ensemble_builder.compilers.tensorrt.runner import Speed
from ensembles_api.contract import Document


class Row(Document):
    """One output of one run. `batch`: None without batching."""

    profile: int
    bound: str
    batch: int | None
    result: Comparison


class SpeedRow(Document):
    profile: int
    bound: str
    batch: int | None
    speed: Speed


def _where(row: Row | SpeedRow) -> str:
    at = f"batch {row.batch}" if row.batch is not None else f"{row.bound} shapes"
    return f"{at} of profile {row.profile}" if row.profile else at


def _figure(result: Comparison) -> str:
    if result.value is None:
        return result.note
    named = "relative L2" if result.measure == "relativeL2" else "agreement"
    return f"{named} {result.value:g} (limit {result.limit:g})"


def worst(rows: Sequence[Row]) -> Row | None:
    return max(rows, key=lambda row: row.result.badness, default=None)


def failure(rows: Sequence[Row]) -> str:
    """The message for an engine that is too far off: the worst of each output that fails."""
    failed: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row.result.badness):
        if row.result.verdict == "Failed":
            failed[row.result.output] = row
    listed = [f"{name!r}: {_figure(row.result)} at {_where(row)}" for name, row in failed.items()]
    more = f" and {len(listed) - 4} outputs more" if len(listed) > 4 else ""  # noqa: PLR2004
    return (
        f"the engine differs from its reference, {'; '.join(listed[-4:])}{more}: choose a higher precision, "
        "keep the layers that overflow in FP32 (keepFp32), give typical inputs (verification.samples), or "
        "raise the tolerance"
    )


def summary(verdict: str, rows: Sequence[Row], speeds: Sequence[SpeedRow]) -> str:
    """One line for people."""
    head = {"Passed": "verified", "Inconclusive": "verification inconclusive"}.get(verdict, "not compared")
    parts = []
    if found := worst([row for row in rows if row.result.value is not None]):
        parts.append(f"worst {_figure(found.result)}, output {found.result.output!r}, {_where(found)}")
    if fastest := max(speeds, key=lambda row: row.speed.per_second, default=None):
        parts.append(f"p50 {fastest.speed.p50_ms:g} ms, {fastest.speed.per_second:g}/s at {_where(fastest)}")
    return f"{head}: {'; '.join(parts)}" if parts else head


def table(rows: Sequence[Row], speeds: Sequence[SpeedRow]) -> Iterator[str]:
    """The Job's log."""
    for row in rows:
        result = row.result
        yield f"{result.verdict:12} {_where(row)}: {result.output!r} {_figure(result)}"
    for speed in speeds:
        found = speed.speed
        times = f"p50 {found.p50_ms:g} ms, p99 {found.p99_ms:g} ms, {found.per_second:g}/s"
        yield f"{'speed':12} {_where(speed)}: {times}"


def inconclusive(rows: Sequence[Row]) -> list[str]:
    return [
        f"output {row.result.output!r}: {row.result.note}"
        for row in rows
        if row.result.verdict == "Inconclusive"
    ]
