"""Programs that a command runs end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ensemble_cli.laptop.engines import Engine, kill_command

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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


def test_a_container_is_killed_by_its_name(tmp_path: Path) -> None:
    """A stand-in for docker, which is not on every machine: it writes down what it is asked."""
    engine, asked = tmp_path / "docker", tmp_path / "asked"
    engine.write_text(
        f'#!/bin/sh\necho "$@" >> {asked}\n[ $1 = kill ] && exit\n'
        "trap '' INT\necho $$\nwhile :; do sleep 0.1; done\n"
    )
    engine.chmod(0o755)
    command = [*Engine(str(engine), podman=False).run(gpu=False), "image"]
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert asked.read_text().splitlines()[1:] == [" ".join(kill_command(command)[1:])]


def test_its_own_end() -> None:
    process, _ = start("echo $$; exit 7")
    process.communicate(timeout=20)
    assert process.returncode == 7
