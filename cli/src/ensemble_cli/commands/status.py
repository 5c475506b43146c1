"""`status`: a tree of what an ensemble is made of and where it stands."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import Any

import click
from rich.live import Live

from ensemble_cli.cluster.candidates import complete_ensembles
from ensemble_cli.cluster.connection import Cluster, ForbiddenError
from ensemble_cli.cluster.explaining import utc_now
from ensemble_cli.cluster.options import cluster_options
from ensemble_cli.cluster.reading import Found, Job, find, jobs
from ensemble_cli.cluster.tree import PLAIN, Signs, status_tree
from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.printing import Format, console, output_option, print_data

SECONDS = 2.0


@click.command("status")
@click.argument("name", shell_complete=complete_ensembles)
@click.option("-w", "--watch", is_flag=True, help="Go on until ctrl-C; without a terminal, a line a change.")
@cluster_options
@output_option
def command(*, name: str, watch: bool, cluster: Cluster, output: Format) -> int:
    """Show steps, models, Jobs, servers, and what it waits for. Ends with 1 where it is not ready."""
    if watch and output != "text":
        raise CommandError(
            "--watch writes for people", cure="leave out --watch, or --output", status=Exit.USAGE
        )
    if watch:
        _watch(cluster, name)
    found = find(cluster, name)
    running = _jobs(cluster, found)
    if output == "text":
        screen = console()
        screen.print(status_tree(found, running, now=utc_now(), signs=_signs()))
    else:
        print_data(_data(found, running), output)
    return Exit.DONE if found.ready else Exit.NO


def _jobs(cluster: Cluster, found: Found) -> list[Job]:
    """None where they may not be listed: the rest is worth seeing, and says what it waits for."""
    try:
        return jobs(cluster, found)
    except ForbiddenError:
        return []


def _watch(cluster: Cluster, name: str) -> None:
    """Until interrupted."""
    if not sys.stdout.isatty():
        _print_changes(cluster, name)
    with Live(console=console(), auto_refresh=False) as live:
        while True:
            found = find(cluster, name)
            tree = status_tree(found, _jobs(cluster, found), now=utc_now(), signs=_signs())
            live.update(tree, refresh=True)
            time.sleep(SECONDS)


def _print_changes(cluster: Cluster, name: str) -> None:
    before = ""
    while True:
        found = find(cluster, name)
        ready = found.condition("Ready")
        line = (
            f"{ready.get('status', 'Unknown')} {ready.get('reason', 'Pending')}: {ready.get('message', '')}"
        )
        if line != before:
            click.echo(f"{utc_now():%H:%M:%S} {line}")
        before = line
        time.sleep(SECONDS)


def _signs() -> Signs:
    return Signs() if "utf" in (sys.stdout.encoding or "").lower() else PLAIN


def _data(found: Found, running: list[Job]) -> dict[str, Any]:
    return {
        "name": found.name,
        "namespace": found.namespace,
        "generation": found.generation,
        "ready": found.ready,
        "status": found.status,
        "jobs": [asdict(job) for job in running],
    }
