"""Programs that a command runs end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

RUN = "import sys; from ensemble_cli.laptop.attending import attended; sys.exit(attended(sys.argv[1:]))"
POLITE = "echo $$; exec sleep 60"
STUBBORN = "trap '' INT TERM; echo $$; while :; do sleep 0.1; done"


def start(script: str) -> tuple[subprocess.Popen[str], int]:
    """A process that attends to a shell, and the shell's pid."""
    command = [sys.executable, "-c", RUN, "sh", "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    return process, int(process.stdout.readline())


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end(number: signal.Signals) -> None:
    process, child = start(POLITE)
    process.send_signal(number)
    error = process.communicate(timeout=20)[1]
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert is_gone(child)


def test_told_twice() -> None:
    process, child = start(STUBBORN)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert not is_gone(child)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert is_gone(child)


def test_its_own_end() -> None:
    process, _ = start("echo $$; exit 7")
    process.communicate(timeout=20)
    assert process.returncode == 7
