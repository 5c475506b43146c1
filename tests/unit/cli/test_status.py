"""The tree of `status`, and the percentage that is read from a build's log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from ensemble_cli.cluster.progress import last_percent
from ensemble_cli.cluster.reading import Found, Job
from ensemble_cli.cluster.tree import PLAIN, status_tree

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
BEGUN = "2026-01-01T00:00:00Z"


def shown(models: list[dict[str, Any]], *jobs: Job, **status: Any) -> list[str]:
    document = {
        "metadata": {"name": "net", "namespace": "n", "generation": 1, "creationTimestamp": BEGUN},
        "spec": {},
        "status": {"observedGeneration": 1, "conditions": [], "models": models, **status},
    }
    console = Console(width=120, no_color=True)
    with console.capture() as text:
        console.print(status_tree(Found(document), jobs, now=NOW, signs=PLAIN))
    return [line.strip(" │├└─") for line in text.get().splitlines()]


def model(name: str, state: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "kind": "tensorrt", "state": state, **fields}


def test_what_was_built_found_and_waited_for_is_told_with_its_seconds() -> None:
    lines = shown(
        [
            model("a", "Built", key="0123456789ab", seconds=93),
            model("b", "Cached", key="ba9876543210", seconds=600),
            model("c", "Waiting", key="cccccccccccc", since="2026-01-01T00:05:00Z"),
            model("d", "Built"),
            model("e", "Cached", key="eeeeeeeeeeee"),
        ]
    )
    assert "models  1 built in 93s, 2 found in storage" in lines
    assert "+ a  tensorrt  Built in 93s  0123456789ab" in lines
    assert "+ b  tensorrt  Cached (once in 10m)  ba9876543210" in lines
    assert "o c  tensorrt  Waiting for 5m  cccccccccccc" in lines
    assert "+ d  tensorrt  Built" in lines
    assert "+ e  tensorrt  Cached  eeeeeeeeeeee" in lines


def test_nothing_built_needs_no_words() -> None:
    assert "models" in shown([model("d", "Built")])


def test_an_engine_tells_its_percentage_beside_model_and_job() -> None:
    build = Job("build-tensorrt-1", "build", "Running", "2026-01-01T00:09:00Z", "a", percent=40)
    lines = shown([model("a", "Building", key="0123456789ab", since="2026-01-01T00:09:00Z")], build)
    assert "o a  tensorrt  Building for 60s, 40 %  0123456789ab" in lines
    assert "o build of a  Running, 60s, 40 %  build-tensorrt-1" in lines


def test_the_newest_percentage_counts_and_other_lines_do_not() -> None:
    log = [
        '{"progress": 10, "seconds": 1.5}',
        "[W] some tactic was skipped",
        '{"progress": 40, "seconds": 12.0}',
        '{"progress": "all", "seconds": 1}',
        '{"progress": 400}',
        "[1, 2]",
        '{"torn": ',
    ]
    assert last_percent(log) == 40
    assert last_percent(["nothing of it"]) is None
    assert last_percent([]) is None


def test_a_verification_tells_its_counts_and_each_failure() -> None:
    failure = {
        "case": "espresso",
        "model": "net",
        "server": "10.0.0.9:8001",
        "message": "output 'y': row 0: 'espresso' (class 1) comes 2nd",
    }
    verification = {"revision": "4" * 64, "servers": 2, "passed": 3, "failed": 1, "failures": [failure]}
    lines = shown([], verification=verification)
    assert "x verification of revision 444444444444 by 2 servers: 3 passed, 1 failed" in lines
    told = f"case espresso of net on 10.0.0.9:8001: {failure['message']}"
    assert told in lines
    lines = shown([], verification={**verification, "failed": 0, "unproven": 1, "failures": []})
    assert "+ verification of revision 444444444444 by 2 servers: 3 passed, 0 failed, 1 unproven" in lines


def test_an_autoscaler_tells_what_it_wants_and_why_it_cannot() -> None:
    servers = {"name": "l4", "readyReplicas": 2, "replicas": 2, "deployment": "net-1-l4"}
    wants = shown([], revision="2" * 64, targets=[{**servers, "desiredReplicas": 4}])
    assert "+ l4  2/2  autoscaler wants 4  net-1-l4" in wants
    cannot = shown([], revision="2" * 64, targets=[{**servers, "autoscaler": "FailedGet: no metrics [x]"}])
    assert "+ l4  2/2  cannot be scaled: FailedGet: no metrics [x]  net-1-l4" in cannot
