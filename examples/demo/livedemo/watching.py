"""An ensemble's way to Ready, as its status tells it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from livedemo.commands import DemoError
from livedemo.kubernetes import Cluster
from livedemo.places import NAMESPACE
from livedemo.progress import detail, say

STAGES = ("Assembled", "Built", "Published", "Verified", "Ready")
POLL_SECONDS = 0.4
PATIENCE_SECONDS = 900
RESOURCE = "inferenceensembles.ensembles.dev"


def until_ready(cluster: Cluster, name: str) -> dict[str, float]:
    """Shows every stage as it is reached.

    Returns:
        Seconds spent to reach each stage from the one before.

    Raises:
        DemoError: the ensemble is Stalled, with the condition's message; or PATIENCE_SECONDS are over.
    """
    started = last = time.monotonic()
    took: dict[str, float] = {}
    shown = ""
    while time.monotonic() - started < PATIENCE_SECONDS:
        document = cluster.get(RESOURCE, name, "-n", NAMESPACE) or {}
        conditions = _current(document)
        for stage in STAGES:
            if stage not in took and conditions.get(stage, {}).get("status") == "True":
                now = time.monotonic()
                took[stage], last = now - last, now
                say(f"    {stage:<10} after {now - started:5.1f} s   {conditions[stage]['message']}")
        if "Ready" in took:
            return took
        if stalled := conditions.get("Stalled"):
            raise DemoError(f"{name} is Stalled: {stalled['reason']}: {stalled['message']}")
        line = _line(conditions)
        if line != shown:
            detail(line)
            shown = line
        time.sleep(POLL_SECONDS)
    raise DemoError(
        f"{name} is not Ready after {PATIENCE_SECONDS} s: {shown}. "
        f"Look at: kubectl -n {NAMESPACE} describe {RESOURCE} {name}"
    )


def _current(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Conditions by type, where they speak of the spec as it is now."""
    generation = document.get("metadata", {}).get("generation")
    conditions = document.get("status", {}).get("conditions", [])
    return {entry["type"]: entry for entry in conditions if entry["observedGeneration"] == generation}


def _line(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    ready = conditions.get("Ready")
    return f"{ready['reason']}: {ready['message']}" if ready else "waiting for the operator to see it"
