"""Figures as a page to read."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]


def markdown(figures: Figures) -> str:
    """The figures as Markdown; what was not measured is left out."""
    parts = [
        f"# On {figures.get('gpu') or 'a GPU'}",
        f"{figures['machine']['gpu']}, {figures['machine']['cores']} cores",
        _table(("seconds", "reached"), figures["laps"]),
    ]
    for name, title in (("cold", "Cold"), ("waiting", "Waiting"), ("cached", "Cached")):
        if name in figures:
            parts.append(f"## {title}\n\n{_ensemble(figures[name])}")
    if figures["failures"]:
        parts.append("## Failures\n\n" + "\n".join(f"- {failure}" for failure in figures["failures"]))
    return "\n\n".join(parts) + "\n"


def _ensemble(seen: Figures) -> str:
    lines = []
    if "ready_seconds" in seen:
        lines.append(f"Ready after {seen['ready_seconds']:.1f} s.")
    if "answer" in seen:
        best = seen["answer"]["best"][0]
        median = seen["answer"]["median_seconds"] * 1000
        lines.append(f"The photograph: {best['label']} {best['probability']:.3f}, median {median:.1f} ms.")
    if "message" in seen:
        lines.append(f"WaitingForGPU: {seen['message']}")
    rows = [
        (name, *(record.get(state, "") for state in ("running", "terminated", "ready")))
        for name, record in seen["containers"].items()
    ]
    table = _table(("container", "seen running, s", "ended, s", "ready, s"), rows)
    return "\n\n".join([" ".join(lines), table, "```\n" + "\n".join(seen["conditions"]) + "\n```"])


def comparison(builds: Sequence[Figures]) -> str:
    """Builds of one engine by the product and by TensorRT alone, as Markdown."""
    rows = [(build["by"], f"{build['seconds']:.1f}", f"{build['total']:.1f}") for build in builds]
    medians = {
        by: statistics.median(build["seconds"] for build in builds if build["by"] == by)
        for by in dict.fromkeys(build["by"] for build in builds)
    }
    table = _table(("by", "build, s", "whole process, s"), rows)
    listed = ", ".join(f"{by} {seconds:.1f} s" for by, seconds in medians.items())
    return f"{table}\n\nMedians of the build alone: {listed}."


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)
