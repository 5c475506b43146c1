"""`pause` and `resume`: spec.rollout.paused, or spec.suspend."""

from __future__ import annotations

import click

from ensemble_cli.cluster.candidates import complete_ensembles
from ensemble_cli.cluster.connection import Cluster, Json
from ensemble_cli.cluster.gitops import drift_note
from ensemble_cli.cluster.options import cluster_options
from ensemble_cli.cluster.reading import Found, ensemble_path, find
from ensemble_cli.program import PROGRAM


@click.command("pause")
@click.argument("name", shell_complete=complete_ensembles)
@click.option("--everything", is_flag=True, help="spec.suspend: nothing is built, healed or scaled either.")
@cluster_options
def pause(*, name: str, everything: bool, cluster: Cluster) -> None:
    """Start no rollout and take no further step of one (spec.rollout.paused).

    What serves is kept alive: lost servers come again, their number follows the spec.
    """
    found = find(cluster, name)
    _change(cluster, name, {"suspend": True} if everything else {"rollout": {"paused": True}})
    click.echo(f"{name} is paused; go on with: kubectl ensemble resume {name}")
    line = "spec.suspend: true" if everything else "spec.rollout.paused: true"
    click.echo(drift_note(found, line), nl=False, err=True)


@click.command("resume")
@click.argument("name", shell_complete=complete_ensembles)
@cluster_options
def resume(name: str, cluster: Cluster) -> None:
    """Let the operator work on an ensemble again, however it was paused."""
    found = find(cluster, name)
    change = _resumed(found)
    if not change:
        click.echo(f"{name} is not paused")
        return
    _change(cluster, name, change)
    click.echo(f"{name} goes on; see: kubectl ensemble status {name} --watch")
    click.echo(drift_note(found, "neither spec.rollout.paused nor spec.suspend"), nl=False, err=True)


def _resumed(found: Found) -> Json:
    spec = found.document["spec"]
    change: Json = {"suspend": False} if spec.get("suspend") else {}
    return change | ({"rollout": {"paused": False}} if spec.get("rollout", {}).get("paused") else {})


def _change(cluster: Cluster, name: str, spec: Json) -> None:
    cluster.patch(ensemble_path(cluster, name), {"spec": spec}, fieldManager=PROGRAM)
