"""The metric families, and the registry that is served."""

from __future__ import annotations

from importlib.metadata import version
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
)

from ensembles_api.contract import BuildKind
from ensembles_api.reasons import REASONS, Nature

PREFIX = "ensemble_operator"
_PASS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STAGE_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
OUTCOMES = ("settled", "changed", "retry", "gone", "crashed")
JOB_RESULTS = ("succeeded", "failed", "cancelled")
ROLLOUT_OUTCOMES = ("Promoted", "Failed")


class Metrics:
    """All families; `registry` is what is served."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that nobody reads
        self.registry = CollectorRegistry()
        self._passes()
        self._ensembles()
        self._work()
        self._process()
        self._begin_at_zero()

    def _passes(self) -> None:
        self.passes = Histogram(
            f"{PREFIX}_reconcile_seconds",
            "Duration of a pass over one ensemble.",
            buckets=_PASS_BUCKETS,
            registry=self.registry,
        )
        self.outcomes = Counter(
            f"{PREFIX}_reconcile_outcomes",
            "Passes by outcome: settled, changed, retry, gone, crashed.",
            ["outcome"],
            registry=self.registry,
        )
        self.queue_wait = Histogram(
            f"{PREFIX}_queue_wait_seconds",
            "Time that a key waited for a worker.",
            buckets=_PASS_BUCKETS,
            registry=self.registry,
        )

    def _ensembles(self) -> None:
        self.failures = Counter(
            f"{PREFIX}_failures",
            "Ensembles that came to fail or wait, by reason (docs/reasons.md).",
            ["reason"],
            registry=self.registry,
        )
        self.steps = Histogram(
            f"{PREFIX}_step_seconds",
            "Time that an ensemble spent in a step or a wait, by the reason of its condition Ready.",
            ["step"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.ready = Histogram(
            f"{PREFIX}_ready_seconds",
            "Time from a spec that needs a rollout to that rollout being Ready.",
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.rollouts = Counter(
            f"{PREFIX}_rollouts", "Rollouts that ended, by outcome.", ["outcome"], registry=self.registry
        )

    def _work(self) -> None:
        self.jobs_created = Counter(
            f"{PREFIX}_jobs_created",
            "Jobs created, by role: assemble, build, verify, prune and others.",
            ["role"],
            registry=self.registry,
        )
        self.jobs = Histogram(
            f"{PREFIX}_job_seconds",
            "Time from a Job's creation to its end. role is publish where an assemble Job published; kind "
            "is dali, tensorrt, export or environment for builds; result is succeeded, failed or cancelled.",
            ["role", "kind", "result"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.builds_avoided = Counter(
            f"{PREFIX}_builds_avoided",
            "Artifacts that were found in storage instead of being built.",
            registry=self.registry,
        )
        self.gpu_seconds = Counter(
            f"{PREFIX}_build_gpu_seconds",
            "GPU time that build pods held, from their start on a node to their end.",
            ["kind"],
            registry=self.registry,
        )
        self.gpu_seconds_saved = Counter(
            f"{PREFIX}_build_gpu_seconds_saved",
            "GPU time that building once took of what was found in storage, as the records say.",
            registry=self.registry,
        )

    def _process(self) -> None:
        self.api_errors = Counter(
            f"{PREFIX}_api_errors",
            "Requests to the Kubernetes API that failed, by method and HTTP status (0: no answer).",
            ["method", "code"],
            registry=self.registry,
        )
        self.watch_behind = Gauge(
            f"{PREFIX}_watch_behind",
            "1 where the watch of a kind did not bring what a list shows.",
            ["kind"],
            registry=self.registry,
        )
        self.leader = Gauge(
            f"{PREFIX}_leader", "1 where this replica is the one that works.", registry=self.registry
        )
        Info(f"{PREFIX}_build", "Version of the operator.", registry=self.registry).info(
            {"version": version("ensemble-operator")}
        )

    def _begin_at_zero(self) -> None:
        """A series that is born with its first event has no increase: rate() and increase() would miss it."""
        for outcome in OUTCOMES:
            self.outcomes.labels(outcome=outcome)
        for outcome in ROLLOUT_OUTCOMES:
            self.rollouts.labels(outcome=outcome)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            self.api_errors.labels(method=method, code="0")
        for kind in get_args(BuildKind):
            self.gpu_seconds.labels(kind=kind)
            for result in JOB_RESULTS:
                self.jobs.labels(role="build", kind=kind, result=result)
        for reason, info in REASONS.items():
            if info.nature is not Nature.PROGRESS:
                self.failures.labels(reason=reason.value)
