"""`history`: the rollouts."""

from __future__ import annotations

import click
from rich.table import Table

from ensemble_cli.cluster.connection import Cluster
from ensemble_cli.cluster.explaining import short
from ensemble_cli.cluster.options import cluster_options
from ensemble_cli.cluster.reading import find
from ensemble_cli.printing import Format, console, output_option, print_data


@click.command("history")
@click.argument("name")
@cluster_options
@output_option
def command(name: str, cluster: Cluster, output: Format) -> None:
    """List the rollouts of an ensemble, newest first; * marks the one that serves."""
    status = find(cluster, name).status
    records = status.get("history", [])
    if output != "text":
        print_data(records, output)
        return
    table = Table("", "no", "revision", "outcome", "ended", "message", box=None, pad_edge=False)
    for record in records:
        serves = "*" if record["rollout"] == status.get("rollout") else ""
        ended = str(record.get("finishedAt") or "")
        table.add_row(serves, str(record["number"]), short(record["revision"]), record["outcome"], ended,
                      record.get("message") or "")  # fmt: skip
    console().print(table)
