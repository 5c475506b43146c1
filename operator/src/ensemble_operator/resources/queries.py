"""What Prometheus is asked in order to scale servers by Triton's own metrics.

The label names are those of the chart's PodMonitor for tritonservers: `namespace`, and the pods' labels
ensembles.dev/ensemble, /rollout and /target without their prefix. One target of one rollout is measured,
since one Deployment is scaled by it. Every expression gives one value where the servers are scraped, 0
without traffic, and none at all where they are not: an autoscaler must be able to tell idle servers from a
Prometheus that lost them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW = "1m"
"""Over which rates are taken: two scrapes at least, at the usual 15 or 30 s."""

LABEL_NAMESPACE = "namespace"
LABEL_ENSEMBLE = "ensemble"
LABEL_ROLLOUT = "rollout"
LABEL_TARGET = "target"
LABEL_MODEL = "model"
LABELS = (LABEL_NAMESPACE, LABEL_ENSEMBLE, LABEL_ROLLOUT, LABEL_TARGET)

EXTERNAL_QUEUE = "triton_queue_microseconds"
"""Names under which a metrics adapter serves the expressions as external metrics."""
EXTERNAL_PENDING = "triton_pending_requests"


@dataclass(frozen=True)
class Servers:
    """The servers of one target of a rollout, by the labels of their series."""

    labels: Mapping[str, str]

    def matchers(self, **more: str) -> str:
        """What stands between the braces of a selector."""
        return ",".join(f"{name}={_quoted(value)}" for name, value in (*self.labels.items(), *more.items()))


@dataclass(frozen=True)
class AdapterServers(Servers):
    """The same in a rule of prometheus-adapter, which has the values from the autoscaler's own selector."""

    labels: Mapping[str, str] = field(default_factory=lambda: {name: _of_selector(name) for name in LABELS})

    def matchers(self, **more: str) -> str:
        return ",".join(f'{name}="{value}"' for name, value in (*self.labels.items(), *more.items()))


def _of_selector(label: str) -> str:
    return f'<<index .LabelValuesByName "{label}">>'


def adapter_rules() -> list[dict[str, object]]:
    """`rules.external` of prometheus-adapter, for HorizontalPodAutoscalers that scale by Triton's metrics."""
    servers = AdapterServers()
    queue = queue_microseconds(servers, entrypoint=_of_selector(LABEL_MODEL))
    rows = (
        (EXTERNAL_QUEUE, "nv_inference_queue_duration_us", queue),
        (EXTERNAL_PENDING, "nv_inference_pending_request_count", pending_requests(servers)),
    )
    return [
        {
            "seriesQuery": f'{series}{{{LABEL_ROLLOUT}!=""}}',
            "resources": {"overrides": {LABEL_NAMESPACE: {"resource": "namespace"}}},
            "name": {"as": name},
            "metricsQuery": query,
        }
        for name, series, query in rows
    ]


def servers_of(*, namespace: str, ensemble: str, rollout: str, target: str) -> Servers:
    return Servers(
        {
            LABEL_NAMESPACE: namespace,
            LABEL_ENSEMBLE: ensemble,
            LABEL_ROLLOUT: rollout,
            LABEL_TARGET: target,
        }
    )


def queue_microseconds(servers: Servers, *, entrypoint: str) -> str:
    """Mean time in µs that a request to the entrypoint spends in the queues of all models it passes.

    A model's own average would not do: an ensemble asks some models several times, others not at all. The
    ensemble's own series adds nothing, since Triton counts no queue for it.
    """
    queued = f"sum(rate(nv_inference_queue_duration_us{{{servers.matchers()}}}[{WINDOW}]))"
    asked = f"sum(rate(nv_inference_request_success{{{servers.matchers(model=entrypoint)}}}[{WINDOW}]))"
    return f"{queued} / ({asked} > 0) or 0 * {queued}"


def pending_requests(servers: Servers) -> str:
    """Requests that wait for an instance of a model, of all models and servers.

    A request to an ensemble waits wherever its members do; the ensemble itself has no queue.
    """
    return f"sum(nv_inference_pending_request_count{{{servers.matchers()}}})"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
