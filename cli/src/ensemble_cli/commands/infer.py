"""`infer`: one question, one answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from ensemble_cli.asking.answers import answer_data, answer_lines, classes_of
from ensemble_cli.asking.options import request_options
from ensemble_cli.asking.reaching import opened, reached
from ensemble_cli.asking.tensors import make_inputs, model_view
from ensemble_cli.cluster.candidates import complete_ensembles
from ensemble_cli.cluster.options import lazy_cluster_options
from ensemble_cli.exits import Exit
from ensemble_cli.printing import Format, output_option, print_data


@click.command("infer")
@click.argument("name", default="", shell_complete=complete_ensembles)
@request_options
@click.option("--grpc", is_flag=True, help="gRPC instead of HTTP; needed by models that answer in streams.")
@click.option(
    "--top",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Classes to show of each vector of scores; 0: none.",
)
@click.option("--url", default="", help="Ask this server instead, e.g. that of `serve`.")
@lazy_cluster_options
@output_option
def command(
    *, name: str, model: str, images: tuple[str, ...], files: tuple[str, ...], random: bool, grpc: bool,
    top: int, url: str, connect: Callable[[], Any], output: Format,
) -> int:  # fmt: skip
    r"""Ask an ensemble once, and show its answer. From outside the cluster it forwards a port by itself.

    \b
      kubectl ensemble infer efficientnet --image coffee.png
      kubectl ensemble infer --url localhost:8000 --model classifier --random
    """
    with reached(connect, name, url, grpc=grpc) as address, opened(address, grpc=grpc) as server:
        wanted = model or address.known_entrypoint()
        view = model_view(server.config(wanted))
        classes = classes_of(view, top)
        inputs = make_inputs(view, files=files, images=images, random=random)
        begin = time.monotonic()
        answers = server.infer(view, inputs, classes)
        seconds = time.monotonic() - begin
    if output != "text":
        data = [answer_data(answer, classes) for answer in answers]
        print_data({"model": wanted, "seconds": round(seconds, 6), "answers": data}, output)
        return Exit.DONE
    for answer in answers:
        for line in answer_lines(answer, classes):
            click.echo(line)
    click.echo(f"{wanted} answered in {1000 * seconds:.1f} ms", err=True)
    return Exit.DONE
