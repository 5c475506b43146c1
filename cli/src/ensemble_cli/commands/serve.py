"""`serve`: a tritonserver on what `build` made."""

from __future__ import annotations

import http.client
import threading
import time
from pathlib import Path

import click

from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.laptop.attending import attended
from ensemble_cli.laptop.engines import kill_command
from ensemble_cli.laptop.ports import HIGHEST, require_free
from ensemble_cli.laptop.serving import PORTS, read_manifest, server_command

SECONDS = 0.5
LOCAL, EVERYWHERE = "127.0.0.1", ""
"""Where a container's ports are published, and where tritonserver itself listens."""


@click.command("serve", context_settings={"ignore_unknown_options": True})
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRITONSERVER-OPTION...]")
@click.option("--tritonserver", "program", default="", help="The server program; default from PATH.")
@click.option("--server-image", default="", help="Serve from this image by docker or podman.")
@click.option(
    "--port",
    type=click.IntRange(1, HIGHEST - len(PORTS) + 1),
    default=8000,
    show_default=True,
    help="HTTP; gRPC and metrics are on the next two.",
)
def command(folder: Path, extra: tuple[str, ...], program: str, server_image: str, port: int) -> int:
    r"""Serve a folder that `build` filled, until ctrl-C.

    \b
      kubectl ensemble serve out
      kubectl ensemble serve out --port 9000 -- --log-verbose=1
    """
    manifest = read_manifest(folder)
    line = server_command(folder, manifest, program=program, image=server_image, first_port=port, extra=extra)
    require_free(range(port, port + len(PORTS)), host=LOCAL if kill_command(line) else EVERYWHERE)
    click.echo("starting; ctrl-C ends it", err=True)
    threading.Thread(target=_say_when_ready, args=(port, manifest.server.entrypoint), daemon=True).start()
    status = attended(line)
    if status:
        raise CommandError(f"tritonserver ended with status {status}", cure="its last lines say why")
    return Exit.DONE


def _say_when_ready(port: int, model: str) -> None:
    """Waits as long as the server loads; the thread ends with the process."""
    while True:
        time.sleep(SECONDS)
        connection = http.client.HTTPConnection(LOCAL, port, timeout=SECONDS)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == http.HTTPStatus.OK:
                break
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    asked = f"kubectl ensemble infer --url localhost:{port} --model {model} --random"
    click.echo(f"ready: HTTP on {port}, gRPC on {port + 1}; ask it: {asked}", err=True)
