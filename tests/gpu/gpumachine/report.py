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
    rows = [(build["by"], f"{_build_seconds(build):.1f}", f"{build['total']:.1f}") for build in builds]
    product, direct = (
        statistics.median(_build_seconds(build) for build in builds if build["by"] == by)
        for by in ("product", "tensorrt")
    )
    table = _table(("by", "build, s", "whole process, s"), rows)
    return f"{table}\n\nMedian {product:.1f} s against {direct:.1f} s: {product / direct:.2f} times as long."


def _build_seconds(build: Figures) -> float:
    return float(build["seconds"] if "seconds" in build else build["provenance"]["seconds"])


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)
