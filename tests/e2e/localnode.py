"""What only the local cluster can do to its own node: claim GPUs, restart a component."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e import live

PRODUCT = "NVIDIA-FAKE"


def require() -> None:
    """Skip where the tests run against somebody else's cluster."""
    if os.environ.get("KUBECONFIG", str(live.STATE / "kubeconfig")) != str(live.STATE / "kubeconfig"):
        pytest.skip("the cluster that KUBECONFIG names is not ours to disturb")


@contextmanager
def fake_gpus() -> Iterator[None]:
    """Ends with a node without GPUs, whatever the block let it claim."""
    try:
        yield
    finally:
        claim_gpus(0)


def claim_gpus(count: int) -> None:
    """The node claims so many GPUs; nothing is behind them."""
    _tool("fake-gpu", str(count), PRODUCT)


def restart(component: str) -> None:
    """Stop a component of the cluster, start it again, and wait until it works.

    An API server is ready before it serves custom resources; there must be an ensemble for this to end.
    """
    _tool("restart", component)
    live.eventually(
        lambda: (
            "inferenceensemble.ensembles.dev/" in live.kubectl("get", "ie", "-A", "-o", "name", check=False)
        ),
        seconds=60,
        what="the API server does not serve ensembles",
    )


def _tool(*arguments: str) -> None:
    command = (sys.executable, str(live.ROOT / "tests/cluster/cluster.py"), *arguments)
    done = subprocess.run(
        [*command, "--state", str(live.STATE)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr + done.stdout
