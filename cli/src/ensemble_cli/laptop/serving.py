"""Starts a tritonserver on a built repository and ends it with this program."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ensemble_builder.artifacts.layout import MODELS, PLUGINS
from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.laptop.building import MANIFEST
from ensemble_cli.laptop.engines import NoEngineError, container_engine
from ensembles_api.contract import Manifest
from ensembles_api.names import GRPC_PORT, HTTP_PORT, METRICS_PORT
from ensembles_api.plugins import plugin_arguments

USUAL_PLACE = "/opt/tritonserver/bin/tritonserver"
PORTS = {"http": HTTP_PORT, "grpc": GRPC_PORT, "metrics": METRICS_PORT}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of what was built into a folder.

    Raises:
        CommandError: nothing was, or its manifest cannot be read.
    """
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise CommandError(
            f"{folder} holds nothing that was built",
            cure=f"build first: kubectl ensemble build FILE --to {folder}",
            status=Exit.ABSENT,
        ) from None
    except ValueError as error:
        raise CommandError(
            f"{folder / MANIFEST} is damaged, or of another version of this program",
            cure=f"build again: kubectl ensemble build FILE --to {folder}",
        ) from error


def server_command(
    folder: Path, manifest: Manifest, *, program: str, image: str, first_port: int, extra: Sequence[str]
) -> list[str]:
    """The command that serves <folder>/models: a program of this machine, else the server image.

    Args:
        folder: what `build` wrote.
        manifest: of it.
        program: path of tritonserver; empty looks for one.
        image: image to take where no program is found; empty takes the manifest's.
        first_port: HTTP; gRPC and metrics follow it.
        extra: further options of tritonserver.

    Raises:
        CommandError: there is neither.
    """
    found = shutil.which(program or "tritonserver") or (shutil.which(USUAL_PLACE) if not program else None)
    ports = [f"--{name}-port={first_port + at}" for at, name in enumerate(PORTS)]
    if found and not image:
        return [found, *_options(str(folder.absolute()), manifest), *ports, *extra]
    if program and not image:
        raise CommandError(f"{program} is no program", cure="check --tritonserver", status=Exit.USAGE)
    missing, cure = "tritonserver is not on PATH", "give --tritonserver PROGRAM"
    try:
        engine = container_engine()
    except NoEngineError as error:
        raise CommandError(f"{missing}, and {error}", cure=cure, status=Exit.ABSENT) from error
    if not (image := image or manifest.server_image):
        raise CommandError(missing, cure=f"{cure} or --server-image IMAGE", status=Exit.ABSENT)
    published = [f"--publish=127.0.0.1:{first_port + at}:{port}" for at, port in enumerate(PORTS.values())]
    memory = f"--shm-size={manifest.server.shared_memory_mib}m"
    volumes = [
        f"--volume={folder.absolute() / name}:/{name}:ro"
        for name in (MODELS, PLUGINS)
        if name == MODELS or manifest.server.plugins
    ]
    return [*engine.run(gpu=manifest.server.gpu), memory, *published, *volumes, image, "tritonserver",
            *_options("", manifest), *extra]  # fmt: skip


def _options(folder: str, manifest: Manifest) -> list[str]:
    """`folder` holds models/ and plugins/ for the server; empty is its root."""
    return [
        f"--model-repository={folder}/{MODELS}",
        "--model-control-mode=none",
        "--strict-readiness=true",
        "--exit-on-error=true",
        *manifest.server.args,
        *plugin_arguments(manifest.server.plugins, folder=folder),
    ]
