"""Docker or podman on this machine."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence

ENGINES = ("docker", "podman")


def container_engine() -> str:
    """Path of docker or podman; empty where neither is."""
    return next((found for name in ENGINES if (found := shutil.which(name))), "")


def container(engine: str, *, gpu: bool) -> list[str]:
    """The beginning of a command that runs an image as this user and leaves no container behind."""
    devices: Sequence[str] = ()
    if gpu:
        devices = ["--device=nvidia.com/gpu=all"] if engine.endswith("podman") else ["--gpus=all"]
    # What the container writes belongs to us; podman without root shifts ids otherwise.
    shift = ["--userns=keep-id"] if engine.endswith("podman") and os.getuid() else []
    name = f"--name=ensemble-{uuid.uuid4().hex[:12]}"
    return [engine, "run", "--rm", "--init", name, *shift, f"--user={os.getuid()}:{os.getgid()}", *devices]


def kill_command(command: Sequence[str]) -> list[str]:
    """What kills the container of a command that begins as `container` says; empty for other commands."""
    names = [word.removeprefix("--name=") for word in command if word.startswith("--name=ensemble-")]
    return [command[0], "kill", names[0]] if names and command[1] == "run" else []
