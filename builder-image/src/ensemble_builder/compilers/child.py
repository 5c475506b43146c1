"""Runs a module of this package in a process of its own and copies what it prints to the log."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
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


class StoppedError(Exception):
    """SIGTERM came while the process ran. It has ended, and there is no result."""


def run(
    module: str, argument: Path, *, scratch: Path, timeout: float | None = None, passes_stop: bool = False
) -> Ended:
    """Run `python -m module argument` in `scratch`, its only writable folder for temporary files.

    Whatever it leaves running is ended with it. Its output appears on this process' standard output.

    Args:
        module: to run.
        argument: its only one.
        scratch: its working folder.
        timeout: seconds.
        passes_stop: a SIGTERM that comes here goes to the process, which is given the time to end by itself.
            The process begins with the signal blocked: `tensorrt.stopping` says what it does with it.

    Raises:
        StoppedError: with `passes_stop`.
        OSError: ENOSPC, where the process has ended for want of it.
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
    with blocked_stop() if passes_stop else contextlib.nullcontext():
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
        # Python hears signals on its main thread alone.
        heard = passes_stop and threading.current_thread() is threading.main_thread()
        with _passing_stop(process) if heard else contextlib.nullcontext():
            code: int | None = process.wait(timeout)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    reader.join(timeout=10)
    text = "".join(tail).strip()
    if code:
        check_room(text)
    return Ended(code=code, tail=text)


def check_room(said: str) -> None:
    """Raise OSError, ENOSPC, where a process that failed says that it was for want of room on the disk."""
    if os.strerror(errno.ENOSPC) in said:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def blocked_stop() -> Iterator[None]:
    """A process that is started meanwhile has SIGTERM blocked from its beginning.

    Modules start threads while they are imported (NumPy's BLAS, say), and one thread that hears the signal is
    enough for it to end the process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _passing_stop(process: subprocess.Popen[str]) -> Iterator[None]:
    stopped = False

    def pass_on(*_: object) -> None:
        nonlocal stopped
        stopped = True
        process.send_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
    if stopped:
        raise StoppedError


def _copy(stream: IO[str], tail: deque[str]) -> None:
    with stream:
        for line in stream:
            tail.append(line)
            sys.stdout.write(f"| {line}" if line.endswith("\n") else f"| {line}\n")
            sys.stdout.flush()
