"""`bench`: a short load, and how long answers take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click
from rich.table import Table

from ensemble_cli.asking.load import Measured, batched, measure
from ensemble_cli.asking.options import request_options
from ensemble_cli.asking.reaching import client, opened, reached
from ensemble_cli.asking.tensors import make_inputs, model_view
from ensemble_cli.cluster.candidates import complete_ensembles
from ensemble_cli.cluster.options import lazy_cluster_options
from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.printing import Format, console, output_option, print_data


def _numbers(_: click.Context, option: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise click.BadParameter(f"{text!r} is no list of numbers such as 1,4,16", param=option)
    return found


@click.command("bench")
@click.argument("name", default="", shell_complete=complete_ensembles)
@request_options
@click.option("--grpc", is_flag=True, help="gRPC instead of HTTP.")
@click.option(
    "--concurrency", default="1,4,16", show_default=True, callback=_numbers, help="Requests at a time."
)
@click.option("--batch", default="1", show_default=True, callback=_numbers, help="Inferences in a request.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="For each row.",
)
@click.option("--url", default="", help="Ask this server instead, e.g. that of `serve`.")
@lazy_cluster_options
@output_option
def command(
    *, name: str, model: str, images: tuple[str, ...], files: tuple[str, ...], random: bool, grpc: bool,
    concurrency: tuple[int, ...], batch: tuple[int, ...], seconds: float, url: str,
    connect: Callable[[], Any], output: Format,
) -> int:  # fmt: skip
    """Load an ensemble for a few seconds, by batch and concurrency: rate and latency percentiles.

    One server is asked. From outside the cluster requests pass through the API server, which costs time of
    its own: compare rows, and measure from inside for figures to plan with.
    """
    with reached(connect, name, url, grpc=grpc) as address:
        with opened(address, grpc=grpc) as server:
            wanted = model or address.known_entrypoint()
            view = model_view(server.config(wanted))
            inputs = make_inputs(view, files=files, images=images, random=random)
            server.infer(view, inputs, {})
        if batch != (1,) and not view.batched:
            raise CommandError(
                f"model {wanted!r} does not batch", cure="leave --batch out", status=Exit.USAGE
            )
        rows = [
            measure(
                lambda: client(address, grpc=grpc),
                view,
                batched(inputs, size) if size > 1 else inputs,
                batch=size,
                concurrency=threads,
                seconds=seconds,
            )
            for size in batch
            for threads in concurrency
        ]
    if output != "text":
        print_data({"model": wanted, "rows": [asdict(row) for row in rows]}, output)
    else:
        console().print(_table(rows))
    failed = next((row.first_error for row in rows if row.errors), "")
    if failed:
        raise CommandError(f"some requests failed: {failed}")
    return Exit.DONE


def _table(rows: list[Measured]) -> Table:
    table = Table(
        "batch", "conc.", "infer/s", "p50 ms", "p90 ms", "p99 ms", "errors", box=None, pad_edge=False
    )
    for row in rows:
        milliseconds = (f"{1000 * value:.1f}" for value in (row.p50, row.p90, row.p99))
        table.add_row(
            str(row.batch), str(row.concurrency), f"{row.per_second:.1f}", *milliseconds, str(row.errors)
        )
    return table
