"""`import`: an InferenceEnsemble from a model repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ensemble_cli.checking import Text
from ensemble_cli.documents import write_yaml
from ensemble_cli.ending import scratch
from ensemble_cli.ensembles import one_ensemble
from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.laptop.building import STORE, build
from ensemble_cli.laptop.compiling import Compiler
from ensemble_cli.laptop.request import local_store, make_request
from ensemble_cli.moving.comparing import lost
from ensemble_cli.moving.converting import Imported, import_repository
from ensemble_cli.moving.found import FoundRepository
from ensemble_cli.moving.repository import read_repository
from ensemble_cli.printing import Format, output_option, print_data


@click.command("import")
@click.argument("repository", type=click.Path(path_type=Path))
@click.option("--uri", required=True, help="Where its files are going to lie: s3://bucket/prefix.")
@click.option("--name", default="", help="Of the resource; default from the folder's name.")
@click.option("--store", default="", help="spec.storage.uri; default s3://BUCKET/store.")
@click.option("--secret", default="model-storage", show_default=True, help="spec.storage.secretName.")
@click.option("--entrypoint", default="", help="The model clients ask; default the outermost ensemble.")
@click.option("--check", is_flag=True, help="Build it in a temporary folder and compare every config.")
@output_option
def command(
    *, repository: Path, uri: str, name: str, store: str, secret: str, entrypoint: str, check: bool,
    output: Format,
) -> int:  # fmt: skip
    r"""Turn a model repository into an InferenceEnsemble, on standard output, and say what to upload.

    Ensembles become steps, plain ONNX and Python models their kind; everything else (several versions, other
    backends, files beside the version folders) is taken as it is. What is built from it has configs of the
    same meaning: --check proves it.

    \b
      kubectl ensemble import model_repository --uri s3://models/repo > ensemble.yaml
      aws s3 cp --recursive model_repository s3://models/repo
      kubectl apply -f ensemble.yaml
    """
    found = read_repository(repository)
    if found.troubles:
        raise CommandError(
            "\n".join(["this repository cannot be served as it is", *map(str, found.troubles)])
        )
    imported = import_repository(
        found,
        name=name or _resource_name(repository),
        uri=uri,
        store=store or f"s3://{_bucket(uri)}/store",
        secret=secret,
        entrypoint=entrypoint,
    )
    text = write_yaml(imported.document)
    with _models_named(imported.document):
        one_ensemble([Text("the imported resource", text)])
        if check:
            _check(found, text, uri)
    _print(found, imported, text, uri, output)
    return Exit.DONE


@contextmanager
def _models_named(document: dict[str, Any]) -> Iterator[None]:
    """Messages name models by their place in the resource, which nobody has seen yet: say which those are."""
    try:
        yield
    except CommandError as error:
        models = document["spec"].get("models", [])
        places = sorted({int(place) for place in re.findall(r"spec\.models\[(\d+)\]", str(error))})
        named = [f"spec.models[{at}] is {models[at]['name']}" for at in places if at < len(models)]
        text = f"{error} ({', '.join(named)})" if named else str(error)
        raise CommandError(text, status=error.status) from error


def _bucket(uri: str) -> str:
    matched = re.fullmatch(r"s3://([^/\s]+)(/.*)?", uri)
    if not matched:
        raise CommandError(f"{uri!r} is no place", cure="write --uri s3://bucket/prefix", status=Exit.USAGE)
    return matched[1]


def _resource_name(repository: Path) -> str:
    """The folder's name as metadata.name takes it."""
    plain = re.sub(r"[^a-z0-9]+", "-", repository.absolute().name.lower()).strip("-")
    return re.sub(r"^[^a-z]+", "", plain)[:40].rstrip("-") or "imported"


def _check(found: FoundRepository, text: str, uri: str) -> None:
    ensemble = one_ensemble([Text("the imported resource", text)])
    with scratch("ensemble-import-") as to:
        store = local_store(ensemble, to / STORE, [f"{uri.rstrip('/')}={found.folder}"])
        request = make_request(ensemble, target="", server_image="", builder_image="")
        built = build(ensemble, request, store, Compiler(""), to)
        differing = list(lost(found, built.models))
    if differing:
        raise CommandError("\n".join(["what is built would differ", *differing]), cure="report this")


def _print(found: FoundRepository, imported: Imported, text: str, uri: str, output: Format) -> None:
    if output != "text":
        data: dict[str, Any] = {
            "resource": imported.document,
            "uploads": [{"file": each.file, "uri": each.uri} for each in imported.uploads],
            "notes": list(imported.notes),
            "ignored": list(found.ignored),
        }
        print_data(data, output)
        return
    click.echo(text, nl=False)
    for note in imported.notes:
        click.echo(f"note: {note}", err=True)
    if found.ignored:
        click.echo(f"no models, left out: {', '.join(found.ignored)}", err=True)
    count = len(imported.uploads)
    click.echo(
        f"upload {count} files (-o json lists them): aws s3 cp --recursive {found.folder} {uri}", err=True
    )
