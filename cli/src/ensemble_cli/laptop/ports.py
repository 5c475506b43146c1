"""Whether a server that is going to be started gets its ports."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from ensemble_cli.exits import CommandError, Exit

HIGHEST = 65535
STRIDE = 10
"""Between the ports that are tried for a free row of them."""


def require_free(ports: Sequence[int], *, host: str) -> None:
    """Refuse ports that a server cannot take, before it is started and has loaded its models.

    Args:
        ports: in a row; the first is what --port says.
        host: where the server listens; empty is everywhere.

    Raises:
        CommandError: naming the port, and a row that is free.
    """
    for port in ports:
        error = _refusal(host, port)
        if error is None:
            continue
        what = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise CommandError(
            f"port {port} {what}, and the server takes {ports[0]} to {ports[-1]}",
            cure=_free_row(len(ports), max(ports[0], 1024), host),
            status=Exit.USAGE,
        )


def _free_row(count: int, above: int, host: str) -> str:
    for first in range(above + STRIDE, HIGHEST - count, STRIDE):
        if not any(_refusal(host, port) for port in range(first, first + count)):
            return f"end what listens there, or give --port {first}"
    return "end what listens there"


def _refusal(host: str, port: int) -> OSError | None:
    try:
        # With SO_REUSEADDR, as create_server sets it: what was closed a moment ago is free.
        socket.create_server((host, port)).close()
    except OSError as error:
        return error
    return None
