"""`history`: the rollouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from ensemble_cli.cluster.candidates import complete_ensembles
from ensemble_cli.cluster.connection import Cluster
from ensemble_cli.cluster.explaining import short
from ensemble_cli.cluster.options import cluster_options
from ensemble_cli.cluster.reading import find
from ensemble_cli.printing import Format, console, output_option, print_data

Record = Mapping[str, Any]
WIDE = 100
"""Columns of a terminal on which a table with who and why is readable."""


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
    screen = console()
    wide = screen.width >= WIDE
    for part in [_table(records, status)] if wide else _paragraphs(records, status):
        screen.print(part)


def _table(records: Sequence[Record], status: Record) -> Table:
    table = Table("", "no", "revision", "outcome", "ended", "by", "what and why", box=None, pad_edge=False)
    for record in records:
        table.add_row(*map(escape, (*_row(record, status), _by(record), _told(record))))
    return table


def _paragraphs(records: Sequence[Record], status: Record) -> Iterator[Table | Padding]:
    """The same where a table would break words: who and why below each rollout."""
    for record in records:
        line = Table.grid(padding=(0, 2, 0, 0))
        row = _row(record, status)
        for _ in row:
            line.add_column(min_width=1, no_wrap=True)
        line.add_row(*map(escape, row))
        yield line
        below = ": ".join(part for part in (_by(record), _told(record)) if part)
        if below:
            yield Padding(escape(below), (0, 0, 0, 3))


def _row(record: Record, status: Record) -> tuple[str, ...]:
    serves = "*" if record["rollout"] == status.get("rollout") else ""
    ended = str(record.get("finishedAt") or "")
    return serves, str(record["number"]), short(record["revision"]), record["outcome"], ended


def _by(record: Record) -> str:
    return str(record.get("startedBy") or "")


def _told(record: Record) -> str:
    """What the rollout changed, why somebody wanted it, and what became of it."""
    cause = record.get("cause")
    parts = (record.get("changes"), f'"{cause}"' if cause else "", record.get("message"))
    return "; ".join(part for part in parts if part)
