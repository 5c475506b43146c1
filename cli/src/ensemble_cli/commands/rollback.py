"""`rollback` and `unpin`: spec.rollout.pinRevision."""

from __future__ import annotations

from typing import Any

import click

from ensemble_cli.cluster.candidates import complete_ensembles, complete_rollouts
from ensemble_cli.cluster.connection import Cluster, Json
from ensemble_cli.cluster.explaining import short
from ensemble_cli.cluster.gitops import drift_note
from ensemble_cli.cluster.going_back import choose
from ensemble_cli.cluster.options import cluster_options
from ensemble_cli.cluster.reading import Found, ensemble_path, find
from ensemble_cli.cluster.waiting import wait_option, wait_until_ready
from ensemble_cli.exits import Exit
from ensemble_cli.printing import Format, output_option, print_data
from ensemble_cli.program import PROGRAM
from ensembles_api.names import ANNOTATION_CHANGE_CAUSE


@click.command("rollback")
@click.argument("name", shell_complete=complete_ensembles)
@click.argument("revision", required=False, default="", shell_complete=complete_rollouts)
@click.option("--cause", default="", help="Why, for the history (annotation kubernetes.io/change-cause).")
@wait_option
@cluster_options
@output_option
def rollback(
    *, name: str, revision: str, cause: str, wait: float | None, cluster: Cluster, output: Format
) -> int:
    """Serve an earlier revision again: REVISION, or the one before.

    REVISION is its first digits, or the number of its rollout. Nothing is built.
    It stays until `unpin`, whatever else the spec says.
    """
    found = find(cluster, name)
    choice = choose(found, revision)
    already = _pinned(found) == choice.revision
    if not already:
        _set(cluster, name, {"pinRevision": choice.revision}, cause=cause)
    told = {"name": name, "namespace": found.namespace, "number": choice.number, "revision": choice.revision,
            "rollout": choice.rollout, "changed": not already}  # fmt: skip
    if output == "text":
        word = "stays at" if already else "goes back to"
        click.echo(f"{name} {word} revision {short(choice.revision)} (rollout {choice.number})")
        click.echo(drift_note(found, f"spec.rollout.pinRevision: {choice.revision}"), nl=False, err=True)
        if wait is None:
            click.echo(f"see: kubectl ensemble status {name} --watch; undo: kubectl ensemble unpin {name}")
    else:
        print_data(told, output)
    if wait is None:
        return Exit.DONE
    return wait_until_ready(cluster, name, wait, revision=choice.revision, for_people=output == "text")


@click.command("unpin")
@click.argument("name", shell_complete=complete_ensembles)
@wait_option
@cluster_options
def unpin(name: str, wait: float | None, cluster: Cluster) -> int:
    """Serve again what the spec asks for."""
    found = find(cluster, name)
    if _pinned(found) is None:
        click.echo(f"{name} is not pinned")
        return Exit.DONE
    _set(cluster, name, {"pinRevision": None})
    click.echo(f"{name} serves what its spec asks for, once that is there")
    click.echo(drift_note(found, "no spec.rollout.pinRevision"), nl=False, err=True)
    return wait_until_ready(cluster, name, wait) if wait is not None else Exit.DONE


def _pinned(found: Found) -> str | None:
    pinned: str | None = found.document["spec"].get("rollout", {}).get("pinRevision")
    return pinned


def _set(cluster: Cluster, name: str, rollout: Json, *, cause: str = "") -> None:
    change: dict[str, Any] = {"spec": {"rollout": rollout}}
    if cause:
        change["metadata"] = {"annotations": {ANNOTATION_CHANGE_CAUSE: cause}}
    cluster.patch(ensemble_path(cluster, name), change, fieldManager=PROGRAM)
