"""`promote`: the annotation by which somebody approves a canary's step."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from ensemble_cli.cluster.candidates import complete_ensembles
from ensemble_cli.cluster.connection import Cluster
from ensemble_cli.cluster.options import cluster_options
from ensemble_cli.cluster.reading import ensemble_path, find
from ensemble_cli.cluster.waiting import wait_option, wait_until_ready
from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.program import PROGRAM
from ensembles_api.names import ANNOTATION_PROMOTE


@click.command("promote")
@click.argument("name", shell_complete=complete_ensembles)
@click.option("--full", is_flag=True, help="All the requests at once, without the steps that are left.")
@wait_option
@cluster_options
def command(*, name: str, full: bool, wait: float | None, cluster: Cluster) -> int:
    """Approve the present step of a canary that waits for it."""
    found = find(cluster, name)
    progress = found.status.get("progress") or {}
    step = progress.get("step")
    if not step or step > progress.get("steps", 0):
        raise CommandError(
            f"no canary of {name} is at a step",
            cure=f"kubectl ensemble status {name} shows where it stands",
            status=Exit.ABSENT,
        )
    now = datetime.now(UTC)
    value = f"{progress['rollout']}/{'full' if full else step}@{now:%Y-%m-%dT%H:%M:%SZ}"
    change = {"metadata": {"annotations": {ANNOTATION_PROMOTE: value}}}
    cluster.patch(ensemble_path(cluster, name), change, fieldManager=PROGRAM)
    what = "gets all the requests" if full else f"may pass step {step} of {progress['steps']}"
    click.echo(f"rollout {progress['rollout']} of {name} {what}")
    return wait_until_ready(cluster, name, wait) if wait is not None else Exit.DONE
