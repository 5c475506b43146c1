"""--wait of the commands that change an ensemble."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ensemble_cli.cluster.connection import Cluster
from ensemble_cli.cluster.explaining import explain, utc_now
from ensemble_cli.cluster.reading import Found, find
from ensemble_cli.exits import CommandError, Exit

SECONDS = 0.5
F = TypeVar("F", bound=Callable[..., Any])


def wait_option(function: F) -> F:
    """Gives `function` an argument `wait`: seconds, or None."""
    return click.option(
        "--wait",
        type=click.FloatRange(min=0),
        is_flag=False,
        flag_value=600.0,
        help="Until it serves, at most so many seconds (600 where none are given).",
    )(function)


def wait_until_ready(
    cluster: Cluster, name: str, seconds: float, *, revision: str = "", for_people: bool = True
) -> Exit:
    """Wait until the spec as it is now serves; say so where standard output is not data for a program.

    Raises:
        CommandError: it is stalled, or the time is over.
    """
    started = time.monotonic()
    while True:
        found = find(cluster, name)
        serves = str(found.status.get("revision") or "")
        if found.ready and revision in {"", serves}:
            took = time.monotonic() - started
            click.echo(f"{name} serves revision {serves[:12]} after {took:.1f} s", err=not for_people)
            return Exit.DONE
        if found.seen and found.condition("Stalled").get("status") == "True":
            raise CommandError(explain(found, now=utc_now()))
        if time.monotonic() - started > seconds:
            raise CommandError(_too_long(found, seconds), cure=f"kubectl ensemble why {name}")
        time.sleep(SECONDS)


def _too_long(found: Found, seconds: float) -> str:
    reason = found.condition("Ready").get("reason", "Pending")
    return f"{found.name} is not ready after {seconds:.0f} s: {reason}"
