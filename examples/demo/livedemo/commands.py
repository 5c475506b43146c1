"""Running other programs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from livedemo.progress import detail


class DemoError(Exception):
    """A step did not work; the message says what to do."""


def stream(arguments: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path | None = None) -> None:
    """Runs a program and shows its output line by line.

    Raises:
        DemoError: it ended with another status than 0.
    """
    with subprocess.Popen(
        [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=dict(env),
        cwd=cwd,
    ) as process:
        for line in process.stdout or ():
            detail(line.rstrip())
    if process.returncode:
        raise DemoError(f"{_shown(arguments)} ended with status {process.returncode}: see the lines above")


def output(arguments: Sequence[str | Path], *, env: Mapping[str, str], given: str | None = None) -> str:
    """What a program prints.

    Raises:
        DemoError: it ended with another status than 0.
    """
    result = subprocess.run(
        [str(argument) for argument in arguments],
        check=False,
        capture_output=True,
        text=True,
        env=dict(env),
        input=given,
    )
    if result.returncode:
        raise DemoError(f"{_shown(arguments)} failed:\n{result.stderr.strip()[-2000:]}")
    return result.stdout


def succeeds(arguments: Sequence[str | Path], *, env: Mapping[str, str]) -> bool:
    result = subprocess.run(
        [str(argument) for argument in arguments], check=False, capture_output=True, env=dict(env)
    )
    return result.returncode == 0


def _shown(arguments: Sequence[str | Path]) -> str:
    return " ".join(str(argument) for argument in arguments)
