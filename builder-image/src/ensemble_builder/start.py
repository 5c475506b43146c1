"""What a container starts. It heeds SIGTERM before anything large is imported.

A container's first process ignores a signal for which it has no handler. Imports take a second: a build that
was stopped meanwhile would go on, with its GPU, until it is killed at the end of the grace period.
"""

from __future__ import annotations

import os
import signal

STOPPED = 128 + signal.SIGTERM


def end_at_sigterm() -> None:
    """Nothing needs tidying: every command may be killed at any point and run again (compile and keep have
    something to save, and see to it themselves).
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(STOPPED))


def main() -> int:
    end_at_sigterm()
    from ensemble_builder import cli  # noqa: PLC0415 - this is what takes long

    return cli.main()
