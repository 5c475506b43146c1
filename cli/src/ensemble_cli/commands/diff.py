"""`diff`: a file beside what the cluster has."""

from __future__ import annotations

import difflib
from typing import Any

import click

from ensemble_cli.checking import read_texts
from ensemble_cli.cluster.applying import LAST_APPLIED, planned
from ensemble_cli.cluster.connection import Cluster
from ensemble_cli.cluster.options import cluster_options
from ensemble_cli.cluster.reading import ensemble_path, look
from ensemble_cli.colours import colours
from ensemble_cli.documents import write_yaml
from ensemble_cli.ensembles import one_ensemble
from ensemble_cli.exits import CommandError, Exit


@click.command("diff")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--name", default="", help="Which ensemble, where the files hold several.")
@cluster_options
def command(files: tuple[str, ...], name: str, cluster: Cluster) -> int:
    """Show what applying a file would change, defaults filled in by the API server. Writes nothing.

    What the file leaves out is removed as whoever applied it last would remove it: kubectl, or a GitOps tool.
    Ends with 1 where something would change; where the ensemble is not there yet, all of it.
    """
    ensemble = one_ensemble(read_texts(files), name=name)
    stated = ensemble.document["metadata"].get("namespace")
    if stated and stated != cluster.namespace:
        raise CommandError(
            f"the file is for namespace {stated}", cure=f"say so: --namespace {stated}", status=Exit.USAGE
        )
    found = look(cluster, ensemble.name)
    document = {key: value for key, value in ensemble.document.items() if key != "status"}
    after = planned(
        cluster, ensemble_path(cluster, ensemble.name), found.document if found else None, document
    )
    before = _text(found.document) if found else []
    lines = list(difflib.unified_diff(before, _text(after), "in the cluster", files[0], lineterm="", n=3))
    for line in lines:
        click.echo(click.style(line, fg={"+": "green", "-": "red"}.get(line[:1])), color=colours())
    return Exit.NO if lines else Exit.DONE


def _text(document: dict[str, Any]) -> list[str]:
    """The part that people write, as lines."""
    metadata = document["metadata"] | {"annotations": _annotations(document)}
    kept = {key: metadata[key] for key in ("name", "labels", "annotations") if metadata.get(key)}
    written = _sorted({"metadata": kept, "spec": document["spec"]})
    return write_yaml(written).splitlines()


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    written = document["metadata"].get("annotations", {})
    return {name: value for name, value in written.items() if name != LAST_APPLIED}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
