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
UNSEEN = {"status": "Unknown", "reason": "Waiting", "message": "for the operator to see it"}


def until_ready(cluster: Cluster, name: str) -> dict[str, float]:
    """Shows every stage as it is reached.

    Returns:
        Seconds by what the operator was doing (the reasons of Ready).

    Raises:
        DemoError: the ensemble is Stalled, with the condition's message; or PATIENCE_SECONDS are over.
    """
    started = last = time.monotonic()
    took: dict[str, float] = {}
    reached: set[str] = set()
    shown = reason = ""
    while (now := time.monotonic()) - started < PATIENCE_SECONDS:
        conditions = _current(cluster.get(RESOURCE, name, "-n", NAMESPACE) or {})
        ready = conditions.get("Ready", UNSEEN)
        if ready["reason"] != reason:
            if reason:
                took[reason] = took.get(reason, 0.0) + now - last
            reason, last = ready["reason"], now
        line = f"{reason}: {ready['message']}"
        if line != shown and ready["status"] != "True":
            detail(line)
            shown = line
        for stage in STAGES:
            if stage not in reached and conditions.get(stage, UNSEEN)["status"] == "True":
                reached.add(stage)
                say(f"    ✓ {stage:<9} after {now - started:5.1f} s   {conditions[stage]['message']}")
        if ready["status"] == "True":
            return took
        if stalled := conditions.get("Stalled"):
            raise DemoError(f"{name} is Stalled: {stalled['reason']}: {stalled['message']}")
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
