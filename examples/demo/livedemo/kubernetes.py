"""The cluster through kubectl."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from livedemo.commands import DemoError, output, stream, succeeds

FORWARD_LINES = 20


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers.

    `env` holds KUBECONFIG and a PATH with kubectl and helm.
    """

    env: Mapping[str, str]

    def kubectl(self, *arguments: str | Path, given: str | None = None) -> str:
        return output(["kubectl", *arguments], env=self.env, given=given)

    def stream(self, *arguments: str | Path) -> None:
        stream(arguments, env=self.env)

    def apply(self, *documents: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(documents))

    def get(self, *arguments: str) -> dict[str, Any] | None:
        """An object as JSON, None where there is none."""
        text = self.kubectl("get", *arguments, "--ignore-not-found", "-o", "json")
        document: dict[str, Any] | None = json.loads(text) if text.strip() else None
        return document

    def exists(self, *arguments: str) -> bool:
        return succeeds(["kubectl", "get", *arguments], env=self.env)

    def namespace(self, name: str) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    @contextmanager
    def forwarded(self, namespace: str, service: str, *ports: int) -> Iterator[dict[int, str]]:
        """Ports of a Service on this machine: remote port → host:port."""
        kubectl = shutil.which("kubectl", path=self.env["PATH"])
        if kubectl is None:
            raise DemoError("kubectl is not on PATH: install it")
        arguments = [
            kubectl,
            "port-forward",
            "-n",
            namespace,
            f"service/{service}",
            *(f":{p}" for p in ports),
        ]
        with subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(self.env)
        ) as process:
            try:
                yield _addresses(process, ports)
            finally:
                process.terminate()


def _addresses(process: subprocess.Popen[str], ports: tuple[int, ...]) -> dict[int, str]:
    found: dict[int, str] = {}
    seen = []
    for line in process.stdout or ():
        seen.append(line.strip())
        if match := re.match(r"Forwarding from (127\.0\.0\.1:\d+) -> (\d+)", line):
            # kubectl names the container's port; Services here have the same numbers.
            found[int(match[2])] = match[1]
        if set(found) == set(ports):
            return found
        if len(seen) >= FORWARD_LINES:
            break
    raise DemoError("kubectl port-forward gave no address:\n" + "\n".join(seen))
