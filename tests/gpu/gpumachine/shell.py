"""Programs of the bundle, run with the cluster's administrator's rights."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from localcluster.settings import Settings

T = TypeVar("T")


class RunError(Exception):
    """A step of the run failed; the text says which and how."""


@dataclass(frozen=True)
class Machine:
    """Where the bundle was unpacked, the repository beside it, and the cluster on it."""

    root: Path
    repository: Path
    settings: Settings

    def run(self, *command: str | Path, stdin: bytes | None = None, check: bool = True) -> str:
        """Run a program of the cluster's; what it printed, or what it complained of where it may fail.

        Raises:
            RunError: it failed.
        """
        program = self.settings.binaries / str(command[0])
        environment = {**os.environ, "KUBECONFIG": str(self.settings.kubeconfig)}
        done = subprocess.run(
            [str(program), *map(str, command[1:])],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env=environment,
            timeout=300,
        )
        output, complaint = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        if done.returncode and check:
            raise RunError(f"{' '.join(map(str, command[:6]))}: {complaint.strip()}{output.strip()[-600:]}")
        return output if done.returncode == 0 else complaint

    def kubectl(self, *arguments: str | Path, stdin: bytes | None = None, check: bool = True) -> str:
        return self.run("kubectl", *arguments, stdin=stdin, check=check)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, document: object) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps(document).encode())


def eventually(
    look: Callable[[], T | None], *, seconds: float, what: Callable[[], str], every: float = 0.2
) -> T:
    """What `look` returns once it is neither None nor False.

    Raises:
        RunError: it did not happen in time.
    """
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise RunError(f"not within {seconds:.0f} s: {what()}")
        time.sleep(every)
