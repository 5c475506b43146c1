"""Docker or podman on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

ENGINES = ("docker", "podman")
SECONDS = 20
CANNOT_START = (125, 126, 127)
"""Exit statuses by which both say that the container did not run: https://docs.docker.com/engine/containers/run."""


class NoEngineError(Exception):
    """Nothing here runs containers; its text says why."""


@dataclass(frozen=True)
class Engine:
    """A program that runs containers."""

    program: str
    podman: bool

    def run(self, *, gpu: bool) -> list[str]:
        """The beginning of a command that runs an image as this user and leaves no container behind."""
        devices: Sequence[str] = ()
        if gpu:
            devices = ["--device=nvidia.com/gpu=all"] if self.podman else ["--gpus=all"]
        # What the container writes belongs to us; podman without root shifts ids otherwise.
        shift = ["--userns=keep-id"] if self.podman and os.getuid() else []
        name = f"--name=ensemble-{uuid.uuid4().hex[:12]}"
        user = f"--user={os.getuid()}:{os.getgid()}"
        return [self.program, "run", "--rm", "--init", name, *shift, user, *devices]


def container_engine() -> Engine:
    """The first that answers: docker's command is often there without its daemon.

    Raises:
        NoEngineError: none is installed, or none answers.
    """
    silent = []
    for name in ENGINES:
        if not (program := shutil.which(name)):
            continue
        try:
            asked = subprocess.run(
                [program, "version"], check=False, capture_output=True, text=True, timeout=SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            silent.append(f"{name} does not answer: {error}")
            continue
        if asked.returncode == 0:
            # Distributions install podman under docker's name, too.
            return Engine(program, podman="podman" in asked.stdout.lower())
        said = (asked.stderr or asked.stdout).strip().splitlines()
        silent.append(f"{name} does not answer: {said[0] if said else f'exit code {asked.returncode}'}")
    raise NoEngineError("; ".join(silent) or f"neither {' nor '.join(ENGINES)} is installed")


def kill_command(command: Sequence[str]) -> list[str]:
    """What kills the container of a command that begins as `Engine.run` says; empty for other commands."""
    names = [word.removeprefix("--name=") for word in command if word.startswith("--name=ensemble-")]
    return [command[0], "kill", names[0]] if names and command[1] == "run" else []
