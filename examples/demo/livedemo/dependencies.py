"""The Python environment of the checkout; runs in whatever Python the machine has."""

import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

from livedemo.commands import DemoError, stream
from livedemo.places import ROOT, VENV, cache

STARTED = "ENSEMBLES_DEMO_STARTED"
"""Set for the second process: when the first began, so that its seconds are counted too."""


def inside() -> bool:
    """This process runs in the checkout's environment, brought up to date."""
    return STARTED in os.environ


def enter(arguments: list[str]) -> None:
    """Brings .venv up to date with uv.lock and runs the demo again in it; does not return.

    Raises:
        DemoError: uv cannot be had, or does not succeed.
    """
    started = time.time()
    # Without the development tools and the large runtimes that only tests need; what is there stays.
    sync = [
        "sync",
        "--frozen",
        "--all-packages",
        "--all-extras",
        "--no-default-groups",
        "--inexact",
        "--quiet",
    ]
    stream([_uv(), *sync], env=os.environ, cwd=ROOT)
    python = VENV / "bin" / "python"
    os.execve(  # noqa: S606 - this very program
        python, [str(python), *arguments], {**os.environ, STARTED: str(started)}
    )


def seconds_since_start() -> float:
    return time.time() - float(os.environ[STARTED])


def _uv() -> str:
    if found := shutil.which("uv"):
        return found
    folder = cache() / "uv"
    program = folder / "bin" / "uv"
    if not program.exists():
        try:
            venv.create(folder, with_pip=True)
            subprocess.run([folder / "bin" / "pip", "install", "--quiet", "uv"], check=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise DemoError(
                f"uv is missing and could not be installed ({error}): see docs.astral.sh/uv, "
                f"or {Path(sys.executable).name} -m pip install uv"
            ) from error
    return str(program)
