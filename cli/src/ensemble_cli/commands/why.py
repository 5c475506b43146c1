"""`why`: one paragraph."""

from __future__ import annotations

import click

from ensemble_cli.cluster.candidates import complete_ensembles
from ensemble_cli.cluster.connection import Cluster
from ensemble_cli.cluster.explaining import explain, utc_now
from ensemble_cli.cluster.options import cluster_options
from ensemble_cli.cluster.reading import find
from ensemble_cli.exits import Exit
from ensemble_cli.printing import Format, output_option, print_data


@click.command("why")
@click.argument("name", shell_complete=complete_ensembles)
@cluster_options
@output_option
def command(name: str, cluster: Cluster, output: Format) -> int:
    """Say what an ensemble waits for, and what to do. Ends with 1 where it is not ready."""
    found = find(cluster, name)
    text = explain(found, now=utc_now())
    if output == "text":
        click.echo(text)
    else:
        reason = found.condition("Ready").get("reason", "")
        print_data({"name": found.name, "ready": found.ready, "reason": reason, "text": text}, output)
    return Exit.DONE if found.ready else Exit.NO
