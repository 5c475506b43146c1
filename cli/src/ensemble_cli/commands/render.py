"""`render`: every config.pbtxt that would be published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.tree import Tree

from ensemble_builder.artifacts.layout import CONFIG
from ensemble_cli.commands.build import asked, build_into
from ensemble_cli.documents import write_yaml
from ensemble_cli.ending import scratch
from ensemble_cli.laptop.manifests import UNKNOWN_UID, manifests
from ensemble_cli.laptop.options import BuildOptions, build_options
from ensemble_cli.laptop.serving import read_manifest
from ensemble_cli.printing import Format, console, output_option, print_data


@click.command("render")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--show",
    type=click.Choice(["configs", "tree", "manifests"]),
    default="configs",
    help="The configs' text, the repository's files with their sizes, or the objects of the rollout.",
)
@click.option("--tools-image", default="ensembles/tools", help="The operator's, for --show manifests.")
@click.option("--uid", default=UNKNOWN_UID, help="metadata.uid: part of the hash in the objects' names.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder of `build`, to build nothing twice; default a temporary one.",
)
@build_options
@output_option
def command(
    *, files: tuple[str, ...], show: str, tools_image: str, uid: str, cache: Path | None,
    options: BuildOptions, output: Format,
) -> None:  # fmt: skip
    r"""Show every config.pbtxt that the revision would have, and the objects that would serve it.

    Needs the model files, by --source or from S3: names, types and shapes come from them. The objects' names
    hold a hash of the resource's uid and of the revision: they are those of a cluster only with --uid, and
    for a spec without runtime.release, serving.targets and engines, which get another digest there.

    \b
      kubectl ensemble render ensemble.yaml --source s3://models/src=./src
      kubectl ensemble render ensemble.yaml --source s3://models/src=./src --show manifests
    """
    ensemble, request = asked(files, options)
    with scratch("ensemble-render-") as temporary:
        to = cache or temporary
        built = build_into(to, ensemble, request, options.sources)
        if show == "manifests":
            _print_manifests(
                list(
                    manifests(
                        ensemble, request, read_manifest(to),
                        revision=built.revision, tools_image=tools_image, uid=uid,
                    )
                ),
                output,
            )  # fmt: skip
            return
        found = {
            path.relative_to(built.models).as_posix(): path
            for path in sorted(built.models.rglob("*"))
            if path.is_file()
        }
        texts = {name: path.read_text() for name, path in found.items() if path.name == CONFIG}
        sizes = {name: path.stat().st_size for name, path in found.items()}
    if output != "text":
        print_data({"revision": built.revision, "configs": texts, "files": sizes}, output)
    elif show == "tree":
        console().print(_tree(built.revision, sizes))
    else:
        for name, text in texts.items():
            click.echo(f"# {name}\n{text}")


def _print_manifests(objects: list[dict[str, Any]], output: Format) -> None:
    if output == "json":
        print_data({"apiVersion": "v1", "kind": "List", "items": objects}, output)
    else:
        click.echo("---\n".join(map(write_yaml, objects)), nl=False)


def _tree(revision: str, sizes: dict[str, int]) -> Tree:
    root = Tree(f"revision {revision[:12]}")
    branches: dict[str, Tree] = {"": root}
    for name, size in sizes.items():
        *folders, file = name.split("/")
        at = ""
        for folder in folders:
            below = f"{at}/{folder}"
            if below not in branches:
                branches[below] = branches[at].add(f"{folder}/")
            at = below
        branches[at].add(f"{file}  {_bytes(size)}")
    return root


def _bytes(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - the next unit
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000  # type: ignore[assignment]
    return f"{size:.1f} GB"
