"""What one server counts at one model, out of its metrics page.

The counters are those of Triton's docs/user_guide/metrics.md. The mean duration is that of requests that went
well: only these count into nv_inference_request_duration_us.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

SUCCESS = "nv_inference_request_success_total"
FAILURE = "nv_inference_request_failure_total"
DURATION = "nv_inference_request_duration_us_total"
"""The parser gives counters the suffix that OpenMetrics wants; Triton writes them without."""
CANCELED = "CANCELED"
"""Value of the label `reason` where the client itself gave up."""


@dataclass(frozen=True)
class Counts:
    """Requests since the server started, or in a span of time: answered, failed (without those that clients
    cancelled), and microseconds spent on the answered ones.
    """

    answered: int = 0
    failed: int = 0
    spent: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.answered + other.answered, self.failed + other.failed, self.spent + other.spent)

    def since(self, before: Counts) -> Counts:
        """What came on top of `before`; all of it where the server has begun to count anew meanwhile."""
        restarted = (
            self.answered < before.answered or self.failed < before.failed or self.spent < before.spent
        )
        if restarted:
            return self
        return Counts(self.answered - before.answered, self.failed - before.failed, self.spent - before.spent)


def read(page: str, model: str) -> Counts | None:
    """The counts of a model, of all its versions and GPUs together; None where the page does not know it.

    Raises:
        ValueError: the page is no Prometheus text.
    """
    samples = list(_samples(page, model))
    if not any(sample.name == SUCCESS for sample in samples):
        return None
    failed = sum(s.value for s in samples if s.name == FAILURE and s.labels.get("reason") != CANCELED)
    return Counts(_sum(samples, SUCCESS), round(failed), _sum(samples, DURATION))


def _samples(page: str, model: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(page):
        yield from (sample for sample in family.samples if sample.labels.get("model") == model)


def _sum(samples: Iterable[Sample], counter: str) -> int:
    return round(sum(sample.value for sample in samples if sample.name == counter))
