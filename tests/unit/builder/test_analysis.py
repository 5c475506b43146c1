"""How the requests of two rollouts' servers are counted and judged."""

from __future__ import annotations

import pytest

from ensemble_builder.commands.analyse.judging import Bounds, is_hopeless, judge, latency_percent
from ensemble_builder.commands.analyse.metrics import Counts, read
from ensemble_builder.commands.analyse.run import _reference
from ensemble_builder.commands.analyse.servers import Ports, Servers

BOUNDS = Bounds(max_error_percent=1, max_latency_percent=150, min_requests=20)
PAGE = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="coffee",version="1"} 40
nv_inference_request_success{model="coffee",version="2",gpu_uuid="GPU-1"} 2
nv_inference_request_success{model="step",version="1"} 1000
# HELP nv_inference_request_failure Number of failed inference requests, all batch sizes
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{model="coffee",reason="CANCELED",version="1"} 7
nv_inference_request_failure{model="coffee",reason="BACKEND",version="1"} 2
nv_inference_request_failure{model="coffee",reason="OTHER",version="1"} 1
nv_inference_request_failure{model="step",reason="BACKEND",version="1"} 500
# HELP nv_inference_request_duration_us Cumulative inference request duration in microseconds
# TYPE nv_inference_request_duration_us counter
nv_inference_request_duration_us{model="coffee",version="1"} 80000
nv_inference_request_duration_us{model="coffee",version="2",gpu_uuid="GPU-1"} 4000
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5
"""


def test_read_counts_the_entrypoint_alone_and_leaves_out_what_clients_cancelled() -> None:
    assert read(PAGE, "coffee") == Counts(answered=42, failed=3, spent=84000)
    assert read(PAGE, "tea") is None


def test_read_refuses_what_is_no_metrics_page() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        read("<html>}</html> 12 a b c {", "coffee")


def servers() -> Servers:
    return Servers("new.test", "coffee", Ports())


def test_counts_before_the_measurement_do_not_count() -> None:
    side = servers()
    side.add({"a": Counts(100, 5, 1000)})
    side.add({"a": Counts(130, 6, 1300)})
    assert side.counted == Counts(30, 1, 300)


def test_what_old_servers_answered_before_stands_in_where_they_get_nothing_any_more() -> None:
    side = servers()
    side.add({"a": Counts(97, 3, 1000), "b": Counts(97, 3, 1000)})
    side.add({"a": Counts(97, 3, 1000)})
    assert _reference(side) == Counts(194, 6, 0)
    side.add({"a": Counts(98, 3, 1010)})
    assert _reference(side) == Counts(1, 0, 10)


def test_a_restarted_server_counts_from_nought_again() -> None:
    side = servers()
    side.add({"a": Counts(100, 5, 1000), "b": Counts(1, 0, 10)})
    side.add({"a": Counts(3, 6, 30), "b": Counts(2, 0, 20)})
    assert side.counted == Counts(3 + 1, 6, 30 + 10)


def test_a_server_that_goes_silent_keeps_what_it_had_counted() -> None:
    side = servers()
    side.add({"a": Counts(100, 0, 0)})
    side.add({"a": Counts(110, 1, 0)})
    side.add({})
    side.add({"b": Counts(7, 7, 0)})
    side.add({"b": Counts(8, 7, 0)})
    assert side.counted == Counts(11, 1, 0)
    assert side.known == 2


@pytest.mark.parametrize(
    ("new", "old", "outcome", "said"),
    [
        (Counts(100, 0, 1000), Counts(900, 0, 9000), "passed", "0 of 100 requests failed"),
        (Counts(19, 0, 19), Counts(900, 0, 900), "open", "19 requests reached the new servers, 20 are"),
        (Counts(0, 0, 0), Counts(900, 0, 900), "open", "0 requests"),
        (Counts(98, 2, 980), Counts(1000, 0, 10_000), "failed", "2.0 points more"),
        (Counts(98, 2, 980), Counts(990, 10, 9900), "passed", "2 of 100 requests failed (2.0 %)"),
        (Counts(0, 20, 0), Counts(1000, 0, 10_000), "failed", "100.0 points"),
        (
            Counts(100, 0, 151_000),
            Counts(100, 0, 100_000),
            "failed",
            "151 % of the old servers' time, allowed are 150 %",
        ),
        (Counts(100, 0, 150_000), Counts(100, 0, 100_000), "passed", "1.5 ms on average"),
        # Without requests to the old servers there is nothing to be slower than.
        (Counts(100, 0, 10_000_000), Counts(), "passed", "old servers: no requests"),
        (Counts(97, 3, 10_000_000), Counts(), "failed", "3.0 points"),
        # Four answers are no mean.
        (Counts(100, 0, 1_000_000), Counts(4, 0, 4), "passed", ""),
        # One failure in a hundred is allowed as a share, one in fifty is not.
        (Counts(99, 1, 99), Counts(100, 0, 100), "passed", ""),
        (Counts(49, 1, 49), Counts(100, 0, 100), "failed", "2.0 points"),
    ],
)
def test_verdicts(new: Counts, old: Counts, outcome: str, said: str) -> None:
    verdict = judge(new, old, BOUNDS)
    assert verdict.outcome == outcome
    assert said in verdict.text


def test_a_failure_names_the_field_of_its_bound() -> None:
    slow = judge(Counts(100, 0, 300_000), Counts(100, 0, 100_000), BOUNDS)
    assert slow.field == "spec.rollout.analysis.maxLatencyPercent"
    bad = judge(Counts(50, 50, 300_000), Counts(100, 0, 100_000), BOUNDS)
    assert bad.field == "spec.rollout.analysis.maxErrorPercent"


def test_only_a_clear_failure_ends_the_measurement_early() -> None:
    healthy = Counts(100, 0, 1000)
    assert is_hopeless(Counts(5, 15, 50), healthy, BOUNDS)
    assert not is_hopeless(Counts(0, 19, 0), healthy, BOUNDS), "fewer than minRequests"
    assert not is_hopeless(Counts(80, 20, 800), healthy, BOUNDS), "may be a burst"
    assert not is_hopeless(Counts(100, 0, 10**9), healthy, BOUNDS), "the first requests are slow"


def test_what_fails_on_both_sides_is_not_the_revisions_fault() -> None:
    """A client that sends nonsense to all of them."""
    assert judge(Counts(10, 90, 100), Counts(100, 900, 1000), BOUNDS).outcome == "passed"
    assert not is_hopeless(Counts(10, 90, 100), Counts(100, 900, 1000), BOUNDS)


def test_latency_needs_both_sides() -> None:
    assert latency_percent(Counts(10, 0, 200), Counts(10, 0, 100)) == 200
    assert latency_percent(Counts(10, 0, 200), Counts(0, 3, 0)) is None
