"""Docker or podman on this machine."""

from __future__ import annotations

import os
import shutil
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
    return [engine, "run", "--rm", "--init", *shift, f"--user={os.getuid()}:{os.getgid()}", *devices]
