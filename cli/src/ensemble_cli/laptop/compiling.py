"""Does what a build Job's middle container does: compile, here or in the builder image, or run an export."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ensemble_cli.exits import CommandError
from ensemble_cli.laptop.attending import attended
from ensemble_cli.laptop.engines import ENGINES, container, container_engine
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
            CommandError: it cannot be started, or an export's container failed.
        """
        if build.kind == "export":
            export(build, work)
            return
        attended(self._command(build, work), env=_environment())

    def _command(self, build: NextBuild, work: Path) -> list[str]:
        if any(map(_has, MODULES.get(build.kind, ()))):
            return [sys.executable, "-m", "ensemble_builder.cli", "compile", "--work", str(work)]
        engine = container_engine()
        needed = " or ".join(MODULES.get(build.kind, (build.kind,)))
        if not engine:
            cure = f"install it, or {' or '.join(ENGINES)} and give --builder-image"
            raise CommandError(f"building {build.model!r} needs {needed}, which is not installed", cure=cure)
        if not self.image:
            cure = "give --builder-image: the image that spec.runtime.builderImage would name"
            raise CommandError(f"building {build.model!r} needs {needed}, which is not installed", cure=cure)
        network = [] if build.kind == "environment" else ["--network=none"]
        return [*container(engine, gpu=build.gpu), *network, f"--volume={work}:/work", self.image,
                "compile", "--work", "/work"]  # fmt: skip


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(NO_CREDENTIALS)}
