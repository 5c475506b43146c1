"""`pause` and `resume`: spec.suspend."""

from __future__ import annotations

import click

from ensemble_cli.cluster.connection import Cluster
from ensemble_cli.cluster.options import cluster_options
from ensemble_cli.cluster.reading import ensemble_path, find


@click.command("pause")
@click.argument("name")
@cluster_options
def pause(name: str, cluster: Cluster) -> None:
    """Have the operator leave an ensemble alone (spec.suspend); what serves goes on serving."""
    _suspend(cluster, name, suspend=True)
    click.echo(f"{name} is paused; go on with: kubectl ensemble resume {name}")


@click.command("resume")
@click.argument("name")
@cluster_options
def resume(name: str, cluster: Cluster) -> None:
    """Let the operator work on an ensemble again."""
    _suspend(cluster, name, suspend=False)
    click.echo(f"{name} goes on; see: kubectl ensemble status {name} --watch")


def _suspend(cluster: Cluster, name: str, *, suspend: bool) -> None:
    find(cluster, name)
    change = {"spec": {"suspend": suspend}}
    cluster.patch(ensemble_path(cluster, name), change, fieldManager="kubectl-ensemble")
