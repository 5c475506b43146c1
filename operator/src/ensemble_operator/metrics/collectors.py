"""Figures that are read at the scrape: no series outlives what it is about."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ensemble_operator.cluster.kinds import ENSEMBLE
from ensemble_operator.metrics.families import PREFIX
from ensemble_operator.observe.cache import ObjectCache
from ensembles_api.reasons import Condition

_EACH = (Condition.READY, Condition.AVAILABLE, Condition.STALLED)
"""Conditions that are shown for each ensemble by name."""


@dataclass(frozen=True)
class QueueFigures:
    """Of the work queue: keys that wait for a worker, totals of keys put in, and put off after a failure."""

    depth: int
    adds: int
    retries: int


class QueueCollector(Collector):
    """Depth and totals of the work queue."""

    def __init__(self, figures: Callable[[], QueueFigures]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        now = self._figures()
        yield GaugeMetricFamily(f"{PREFIX}_queue_depth", "Keys that wait for a worker.", now.depth)
        yield CounterMetricFamily(f"{PREFIX}_queue_adds", "Keys put into the queue.", now.adds)
        yield CounterMetricFamily(f"{PREFIX}_queue_retries", "Keys put off after a failure.", now.retries)


class EnsembleCollector(Collector):
    """How ensembles stand: four series for each, and totals."""

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        resources = self._cache.all(ENSEMBLE)
        yield GaugeMetricFamily(f"{PREFIX}_ensembles", "InferenceEnsembles.", len(resources))
        yield from self._totals(resources)
        yield from self._each(resources)

    def _totals(self, resources: tuple[Mapping[str, Any], ...]) -> Iterator[Metric]:
        tally: Tally[tuple[str, str]] = Tally()
        for resource in resources:
            for condition in _conditions(resource).values():
                tally[condition["type"], condition["status"]] += 1
        family = GaugeMetricFamily(
            f"{PREFIX}_ensembles_condition",
            "InferenceEnsembles by condition and its status.",
            labels=["condition", "status"],
        )
        for labels, count in sorted(tally.items()):
            family.add_metric(labels, count)
        yield family

    def _each(self, resources: tuple[Mapping[str, Any], ...]) -> Iterator[Metric]:
        standing = GaugeMetricFamily(
            f"{PREFIX}_ensemble_condition",
            "1 where the ensemble's condition (Ready, Available, Stalled) is True, else 0.",
            labels=["ensemble_namespace", "ensemble", "condition"],
        )
        reasons = GaugeMetricFamily(
            f"{PREFIX}_ensemble_reason",
            "1, with the reason of the ensemble's condition Ready.",
            labels=["ensemble_namespace", "ensemble", "reason"],
        )
        for resource in resources:
            named = [resource["metadata"]["namespace"], resource["metadata"]["name"]]
            conditions = _conditions(resource)
            for kind in _EACH:
                true = conditions.get(kind.value, {}).get("status") == "True"
                standing.add_metric([*named, kind.value], int(true))
            reason = conditions.get(Condition.READY.value, {}).get("reason", "Pending")
            reasons.add_metric([*named, reason], 1)
        yield standing
        yield reasons


def _conditions(resource: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    return {c["type"]: c for c in (resource.get("status") or {}).get("conditions") or ()}
