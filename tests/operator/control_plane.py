"""A Kubernetes API server with its controllers and no node, started for the tests that stop and break it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
CLUSTER = (sys.executable, str(ROOT / "tests/cluster/cluster.py"))

PATIENCE = 4
"""Waiting costs nothing where the machine is quick; on a busy one all takes its time."""

T = TypeVar("T")


def eventually(look: Callable[[], T | None], *, seconds: float = 20, what: str = "") -> T:
    """What `look` returns once it is neither None nor False.

    Args:
        look: asked again and again.
        seconds: how long it may take on an idle machine.
        what: is waited for.

    Raises:
        AssertionError: it did not happen in time.
    """
    end = time.monotonic() + seconds * PATIENCE
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds * PATIENCE:.0f} s: {what}")
        time.sleep(0.1)
    return found


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane; `state` is its folder."""

    state: Path

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    def tool(self, *arguments: str) -> None:
        subprocess.run([*CLUSTER, *arguments, "--state", str(self.state)], check=True, capture_output=True)


class OperatorProcess:
    """The operator as a process of its own, as in a pod."""

    def __init__(
        self,
        kubeconfig: Path,
        folder: Path,
        *options: str,
        config: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(config)
        self.health_port, self.metrics_port = free_ports(2)
        self.log = folder / f"operator-{self.health_port}.log"
        self.started = time.monotonic()
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "ensemble-operator"),
                    *("--config", str(folder / "config.yaml")),
                    *("--kubeconfig", str(kubeconfig)),
                    *("--health-port", str(self.health_port)),
                    *("--metrics-port", str(self.metrics_port)),
                    *options,
                ],
                stderr=output,
            )

    def logged(self, text: str) -> bool:
        return text in self.log.read_text()

    def wait_for(self, text: str, *, seconds: float = 40) -> None:
        """Until a log line holds this text."""
        eventually(
            lambda: self.logged(text), seconds=seconds, what=f"{text!r} in the log:\n{self.log.read_text()}"
        )

    def ask(self, path: str, *, port: int | None = None) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port or self.health_port}{path}", timeout=5
            ) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> str:
        return self.ask("/metrics", port=self.metrics_port)[1]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, *, seconds: float = 60) -> int:
        """Ask it to end as the kubelet does; its exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
