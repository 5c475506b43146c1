"""`graph`: a picture of an ensemble."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ensemble_cli.asking.reaching import opened, reached
from ensemble_cli.cluster.candidates import complete_ensembles
from ensemble_cli.cluster.options import lazy_cluster_options
from ensemble_cli.drawing.layout import picture_of
from ensemble_cli.drawing.svg import svg_of
from ensemble_cli.drawing.terminal import graph_tree
from ensemble_cli.drawing.wiring import Config, Graph, graph_of
from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.moving.converting import message_data
from ensemble_cli.moving.repository import read_repository
from ensemble_cli.printing import Format, console, output_option, print_data


@click.command("graph")
@click.argument("name", default="", shell_complete=complete_ensembles)
@click.option("--model", default="", help="Which model; default the entrypoint, or the outermost ensemble.")
@click.option("--url", default="", help="Ask this server instead of a cluster, e.g. that of `serve`.")
@click.option(
    "--repository",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Read the configs of a model repository, e.g. FOLDER/models of `build`.",
)
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Write a picture to this file.")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="The same as PNG.")
@lazy_cluster_options
@output_option
def command(
    *, name: str, model: str, url: str, repository: Path | None, svg: Path | None, png: Path | None,
    connect: Callable[[], Any], output: Format,
) -> None:  # fmt: skip
    """Draw an ensemble: models, where they run, and the tensors between them with types and shapes."""
    with contextlib.ExitStack() as stack:
        if repository:
            source = _of_repository(repository)
        else:
            source = stack.enter_context(_of_server(connect, name, url))
        chosen = model or source[0]
        if not chosen:
            raise CommandError(
                "it is not known which model to draw", cure=f"name it: --model {source[2]}", status=Exit.USAGE
            )
        graph = graph_of(chosen, source[1])
    _write_pictures(graph, svg, png)
    if output != "text":
        print_data(asdict(graph), output)
    elif not (svg or png):
        console().print(graph_tree(graph))


def _write_pictures(graph: Graph, svg: Path | None, png: Path | None) -> None:
    picture = picture_of(graph)
    if svg:
        svg.write_text(svg_of(picture), encoding="utf-8")
        click.echo(f"wrote {svg}", err=True)
    if png:
        from ensemble_cli.drawing.png import png_of  # noqa: PLC0415 - half of Pillow is imported for it

        try:
            png.write_bytes(png_of(picture))
        except ValueError as error:
            raise CommandError(str(error), cure="--svg FILE.svg", status=Exit.USAGE) from error
        click.echo(f"wrote {png}", err=True)


Source = tuple[str, Callable[[str], Config], str]
"""The model that is meant where none is named, any model's config, and what may be named."""


@contextmanager
def _of_server(connect: Callable[[], Any], name: str, url: str) -> Iterator[Source]:
    with reached(connect, name, url, grpc=False) as address, opened(address, grpc=False) as server:
        yield address.entrypoint, server.config, "NAME"


def _of_repository(folder: Path) -> Source:
    found = read_repository(folder)
    configs = {model.name: {**message_data(model.config), "name": model.name} for model in found.models}
    called = {step.model_name for model in found.models for step in model.config.ensemble_scheduling.step}
    outermost = [model.name for model in found.models if model.is_ensemble and model.name not in called]

    def config_of(name: str) -> Config:
        if name not in configs:
            raise CommandError(f"no model {name!r} there", cure=f"there is: {', '.join(configs)}")
        return configs[name]

    meant = outermost or (list(configs) if len(configs) == 1 else [])
    return (meant[-1] if meant else ""), config_of, "|".join(configs)
