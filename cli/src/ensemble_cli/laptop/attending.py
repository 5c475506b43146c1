"""Runs a program, or a container, that does not outlive us, unless nobody can tell us: SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType

from ensemble_cli.ending import ending_signals
from ensemble_cli.exits import CommandError
from ensemble_cli.laptop.engines import kill_command


def attended(command: Sequence[str], *, env: Mapping[str, str] = os.environ) -> int:
    """Run a program until it ends, or until we are told to; it is told once to finish, then killed.
    A container is killed by its name: it is no child of the program that started it.

    Returns:
        its exit status.

    Raises:
        CommandError: it cannot be started.
        KeyboardInterrupt: we were told to end, and it has ended.
    """
    process: subprocess.Popen[bytes] | None = None
    told = 0

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        told += 1
        if process is not None:
            _tell(process, command, told)

    before = {number: signal.signal(number, stop) for number in ending_signals()}
    try:
        # A session of its own: the terminal's ctrl-C reaches it through us alone, once.
        try:
            process = subprocess.Popen(command, start_new_session=True, env=dict(env))
        except OSError as error:
            raise CommandError(
                f"{command[0]} cannot be started: {error.strerror}", cure="check that it is a program"
            ) from error
        if told:
            _tell(process, command, told)
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        raise KeyboardInterrupt
    return status


def _tell(process: subprocess.Popen[bytes], command: Sequence[str], times: int) -> None:
    if times == 1:
        process.send_signal(signal.SIGINT)
        return
    if killing := kill_command(command):
        subprocess.run(killing, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
