"""`history`: the rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from ensemble_cli.cluster.candidates import complete_ensembles
from ensemble_cli.cluster.connection import Cluster
from ensemble_cli.cluster.explaining import short
from ensemble_cli.cluster.options import cluster_options
from ensemble_cli.cluster.reading import find
from ensemble_cli.printing import Format, console, output_option, print_data


@click.command("history")
@click.argument("name", shell_complete=complete_ensembles)
@cluster_options
@output_option
def command(name: str, cluster: Cluster, output: Format) -> None:
    """List the rollouts of an ensemble, newest first; * marks the one that serves."""
    status = find(cluster, name).status
    records = status.get("history", [])
    if output != "text":
        print_data(records, output)
        return
    table = Table("", "no", "revision", "outcome", "ended", "by", "what and why", box=None, pad_edge=False)
    for record in records:
        serves = "*" if record["rollout"] == status.get("rollout") else ""
        ended = str(record.get("finishedAt") or "")
        row = (serves, str(record["number"]), short(record["revision"]), record["outcome"], ended,
               str(record.get("startedBy") or ""), _told(record))  # fmt: skip
        table.add_row(*map(escape, row))
    console().print(table)


def _told(record: Mapping[str, Any]) -> str:
    """What the rollout changed, why somebody wanted it, and what became of it."""
    cause = record.get("cause")
    parts = (record.get("changes"), f'"{cause}"' if cause else "", record.get("message"))
    return "; ".join(part for part in parts if part)
