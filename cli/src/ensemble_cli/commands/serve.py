"""`serve`: a tritonserver on what `build` made."""

from __future__ import annotations

from pathlib import Path

import click

from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.laptop.attending import attended
from ensemble_cli.laptop.serving import read_manifest, server_command


@click.command("serve", context_settings={"ignore_unknown_options": True})
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRITONSERVER-OPTION...]")
@click.option("--tritonserver", "program", default="", help="The server program; default from PATH.")
@click.option("--server-image", default="", help="Serve from this image by docker or podman.")
@click.option("--port", default=8000, show_default=True, help="HTTP; gRPC and metrics are on the next two.")
def command(folder: Path, extra: tuple[str, ...], program: str, server_image: str, port: int) -> int:
    r"""Serve a folder that `build` filled, until ctrl-C.

    \b
      kubectl ensemble serve out
      kubectl ensemble serve out --port 9000 -- --log-verbose=1
    """
    manifest = read_manifest(folder)
    line = server_command(folder, manifest, program=program, image=server_image, first_port=port, extra=extra)
    click.echo(
        f"model {manifest.server.entrypoint}: http://localhost:{port}, gRPC on {port + 1}; ctrl-C ends it",
        err=True,
    )
    status = attended(line)
    if status:
        raise CommandError(f"tritonserver ended with status {status}", cure="its last lines say why")
    return Exit.DONE
