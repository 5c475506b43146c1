"""Runs a module of this package in a process of its own and copies what it prints to the log."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TAIL_LINES = 20


@dataclass(frozen=True)
class Ended:
    """How the process ended. `code` is negative for a signal, None where it ran out of time."""

    code: int | None
    tail: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL

    @property
    def how(self) -> str:
        if self.code is None:
            return "ran out of time"
        if self.code < 0:
            return f"was ended by {signal.Signals(-self.code).name}"
        return f"ended with status {self.code}"


def run(module: str, argument: Path, *, scratch: Path, timeout: float | None = None) -> Ended:
    """Run `python -m module argument` in `scratch`, its only writable folder for temporary files.

    Whatever it leaves running is ended with it. Its output appears on this process' standard output.
    """
    temporary = scratch / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(argument)],
        cwd=scratch,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    if process.stdout is None:
        raise AssertionError("the process was started with a pipe")
    reader = threading.Thread(target=_copy, args=(process.stdout, tail), daemon=True)
    reader.start()
    try:
        code: int | None = process.wait(timeout)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    reader.join(timeout=10)
    return Ended(code=code, tail="".join(tail).strip())


def _copy(stream: IO[str], tail: deque[str]) -> None:
    with stream:
        for line in stream:
            tail.append(line)
            sys.stdout.write(f"| {line}" if line.endswith("\n") else f"| {line}\n")
            sys.stdout.flush()
