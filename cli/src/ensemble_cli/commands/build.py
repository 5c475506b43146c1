"""`build`: what the build Jobs do, into a folder."""

from __future__ import annotations

from pathlib import Path

import click

from ensemble_cli.checking import read_texts
from ensemble_cli.ensembles import Ensemble, one_ensemble
from ensemble_cli.laptop.building import STORE, Built, build
from ensemble_cli.laptop.compiling import Compiler
from ensemble_cli.laptop.options import BuildOptions, build_options
from ensemble_cli.laptop.request import local_store, make_request
from ensemble_cli.printing import Format, output_option, print_data
from ensembles_api.contract import Request


@click.command("build")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to fill.")
@build_options
@output_option
def command(files: tuple[str, ...], to: Path, options: BuildOptions, output: Format) -> None:
    r"""Build an ensemble's model repository into a folder, without a cluster.

    The same code as in the build Jobs, on a store in the folder. Sources are read from S3 with the AWS_*
    variables of the environment, or from folders given by --source. Pipelines and engines are compiled by
    this Python where it has DALI and TensorRT, otherwise in --builder-image by docker or podman. What was
    built before is not built again.

    \b
      kubectl ensemble build ensemble.yaml --to out --source s3://models/src=./src
      kubectl ensemble serve out
    """
    built = build_into(to, *asked(files, options), options.sources)
    if output != "text":
        print_data(
            {
                "models": str(built.models),
                "revision": built.revision,
                "entrypoint": built.entrypoint,
                "warnings": list(built.warnings),
            },
            output,
        )
        return
    for warning in built.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{built.models}: revision {built.revision[:12]}, ask model {built.entrypoint}")


def asked(files: tuple[str, ...], options: BuildOptions) -> tuple[Ensemble, Request]:
    """The ensemble of some files, and what is to be built of it here."""
    ensemble = one_ensemble(read_texts(files), name=options.name)
    return ensemble, make_request(
        ensemble,
        target=options.target,
        server_image=options.server_image,
        builder_image=options.builder_image,
    )


def build_into(to: Path, ensemble: Ensemble, request: Request, sources: tuple[str, ...]) -> Built:
    """Build an ensemble into a folder."""
    to.mkdir(parents=True, exist_ok=True)
    store = local_store(ensemble, to / STORE, sources)
    return build(ensemble, request, store, Compiler(request.builder_image), to)
