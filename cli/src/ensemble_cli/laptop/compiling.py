"""Does what a build Job's middle container does: compile, here or in the builder image, or run an export."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ensemble_cli.exits import CommandError
from ensemble_cli.laptop.attending import attended
from ensemble_cli.laptop.engines import CANNOT_START, ENGINES, NoEngineError, container_engine
from ensemble_cli.laptop.exporting import export
from ensembles_api.contract import NextBuild

MODULES = {
    "dali": ("nvidia.dali",),
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "environment": ("pip",),
}
"""By kind of build: Python modules of which one must be there to compile without a container."""
NO_CREDENTIALS = ("AWS_", "KUBECONFIG")
"""Beginnings of variables that user code has no business with."""


@dataclass(frozen=True)
class Compiler:
    """Where to compile. `image` is used where this Python lacks what a build needs."""

    image: str

    def run(self, build: NextBuild, work: Path) -> None:
        """Compile `work`/order.json; result.json says how it went.

        Raises:
            CommandError: it or its container cannot be started, or an export's container failed.
        """
        if build.kind == "export":
            export(build, work)
            return
        if any(map(_has, MODULES.get(build.kind, ()))):
            command = [sys.executable, "-m", "ensemble_builder.cli", "compile", "--work", str(work)]
            attended(command, env=_environment())
        elif (status := attended(self._container(build, work), env=_environment())) in CANNOT_START:
            raise CommandError(
                f"building {build.model!r}: the container of {self.image} could not be started",
                cure="read what was printed above; --builder-image must name the image that "
                f"spec.runtime.builderImage would name (exit code {status})",
            )

    def _container(self, build: NextBuild, work: Path) -> list[str]:
        needed = " or ".join(MODULES.get(build.kind, (build.kind,)))
        missing = f"building {build.model!r} needs {needed}, which is not installed"
        try:
            engine = container_engine()
        except NoEngineError as error:
            cure = f"install it, or {' or '.join(ENGINES)} and give --builder-image"
            raise CommandError(f"{missing}; {error}", cure=cure) from error
        if not self.image:
            cure = "give --builder-image: the image that spec.runtime.builderImage would name"
            raise CommandError(missing, cure=cure)
        network = [] if build.kind == "environment" else ["--network=none"]
        return [*engine.run(gpu=build.gpu), *network, f"--volume={work}:/work", self.image,
                "compile", "--work", "/work"]  # fmt: skip


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(NO_CREDENTIALS)}
