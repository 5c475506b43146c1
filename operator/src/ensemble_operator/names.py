"""Names of the cluster objects of an ensemble. All fit 63 characters for a resource name of up to 40."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(value: Any) -> str:
    """sha256 (hex) of a JSON value's canonical text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _short(target: str) -> str:
    return target if len(target) <= 8 else digest(target)[:8]  # noqa: PLR2004


def request(name: str, inputs: str) -> str:
    return f"{name}-request-{inputs[:10]}"


def assemble_job(name: str, inputs: str, *, number: int, attempt: int) -> str:
    return f"{name}-asm-{inputs[:8]}-{number}-{attempt}"


def build_job(kind: str, key: str, proof: str, *, storage: str, attempt: int) -> str:
    """Without the ensemble's name: one Job builds for all ensembles of the namespace with this storage."""
    proven = f"-{proof[:6]}" if proof else ""
    return f"build-{kind}-{key[:20]}-{storage[:6]}{proven}-{attempt}"


def verify_job(name: str, rollout: str, *, attempt: int) -> str:
    return f"{name}-verify-{rollout}-{attempt}"


def analyse_job(name: str, rollout: str, step: str, *, attempt: int) -> str:
    """`step`: at most 2 characters."""
    return f"{name}-anl-{rollout}-{step}-{attempt}"


def prune_job(name: str, kept: str, *, attempt: int) -> str:
    return f"{name}-prune-{kept[:8]}-{attempt}"


def rollout(name: str, rollout_hash: str) -> str:
    """The ControllerRevision, and the headless Service in front of one rollout's pods."""
    return f"{name}-{rollout_hash}"


def rollout_host(name: str, rollout_hash: str, namespace: str, domain: str) -> str:
    """Resolves to the address of every server of a rollout."""
    return f"{rollout(name, rollout_hash)}.{namespace}.svc.{domain}"


def traffic_service(name: str, rollout_hash: str) -> str:
    """The Service that a route sends one rollout's share of the requests to."""
    return f"{name}-{rollout_hash}-t"


def deployment(name: str, rollout_hash: str, target: str) -> str:
    """At most 40 + 1 + 8 + 1 + 8: long target names are cut by hash."""
    return f"{name}-{rollout_hash}-{_short(target)}"


def autoscaler(name: str, target: str) -> str:
    """Of a target, whatever rollout it serves."""
    return f"{name}-{_short(target)}"


LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
"""Kueue's: suspends a Job until its queue has room. Kueue sets it itself where a namespace has a default."""
LABEL_QUEUE_PRIORITY = "kueue.x-k8s.io/priority-class"
"""Kueue's: names the WorkloadPriorityClass of a Job."""
LABEL_INPUTS = "ensembles.dev/inputs"
"""First 16 characters of the inputs digest; the annotation of the same name holds it whole."""
LABEL_STORAGE = "ensembles.dev/storage"
"""On a build Job: `JobContext.storage_digest` of where it uploads to. Another storage is another Job."""
ANNOTATION_INPUTS = "ensembles.dev/inputs"
ANNOTATION_ROUND = "ensembles.dev/round"
ANNOTATION_ATTEMPT = "ensembles.dev/attempt"
ANNOTATION_LOCK = "ensembles.dev/lock"
ANNOTATION_PROOF = "ensembles.dev/proof"
"""How a build proves its artifact: another proof of the same key is another Job."""
ANNOTATION_KEY = "ensembles.dev/key"
ANNOTATION_SETTINGS = "ensembles.dev/settings"
"""Digests of the pod settings that this Job and its earlier attempts were made with, separated by spaces."""
ANNOTATION_STEP = "ensembles.dev/step"
"""On an analysis: which step of its rollout it judges."""
ANNOTATION_MEASURED_SINCE = "ensembles.dev/measuredSince"
"""On an analysis: when the share of traffic began that it measures."""
ANNOTATION_FIRST_FAILURE = "ensembles.dev/firstFailure"

ANNOTATION_SHARES = "ensembles.dev/shares"
"""On a route: the rollouts that share the requests, as HASH=WEIGHT separated by spaces; without it the route
leads to the ensemble's Service."""
ANNOTATION_SHARES_SINCE = "ensembles.dev/sharesSince"
ANNOTATION_SHARED_BEFORE = "ensembles.dev/sharedBefore"
"""On a route: the rollouts that it led to before the present shares."""
ANNOTATION_ACTIVE = "ensembles.dev/active"
"""On the Service: the rollout that clients reach."""
ANNOTATION_NEXT = "ensembles.dev/next"
"""On the Service while it selects two rollouts: the one that takes over."""
ANNOTATION_OVERLAP_SINCE = "ensembles.dev/overlapSince"

COUNTING_CONTAINER = {
    "assemble": "assemble",
    "build": "upload",
    "verify": "verify",
    "analyse": "analyse",
    "prune": "prune",
}
"""By Job role: the container whose termination message is the Job's result."""
KEEP_CONTAINER = "keep"
"""A build's sidecar; how it ends says nothing about the build."""
