"""assemble, build, publish and fetch in a folder: what the operator's Jobs do, in one process.

<folder>/store/          storage, as spec.storage.uri would have it; also the cache of the next build
<folder>/models/         the model repository
<folder>/verification/   the cases that `verify` puts to its server
<folder>/manifest.json   the published revision's manifest
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ensemble_builder.artifacts.layout import MODELS, PLUGINS, VERIFICATION
from ensemble_builder.commands import assemble, fetch, upload
from ensemble_builder.commands.locks import OrderedBuild
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.store import Store
from ensemble_cli.ending import scratch
from ensemble_cli.ensembles import Ensemble
from ensemble_cli.exits import CommandError
from ensemble_cli.laptop.compiling import Compiler
from ensembles_api.contract import Fault, Manifest, NextBuild, Request, Result
from ensembles_api.reasons import REASONS, Reason

STORE = "store"
MANIFEST = "manifest.json"
MOST_ROUNDS = 8
"""As in the operator."""


@dataclass(frozen=True)
class Built:
    """A repository on disk."""

    models: Path
    revision: str
    entrypoint: str
    warnings: tuple[str, ...]


def build(ensemble: Ensemble, request: Request, store: Store, compiler: Compiler, to: Path) -> Built:
    """Build an ensemble into <to>; what is there stays until the new repository is complete.

    Raises:
        CommandError: naming the field and the cure.
    """
    try:
        with scratch("ensemble-") as work:
            result = _published(ensemble, request, store, compiler, work)
        manifest = fetch.load_manifest(store, request.namespace, request.name, result.revision)
        _place(store, request, result.revision, manifest, to)
    except FaultError as error:
        raise CommandError(_explained(error.fault), cure=_cure(error.fault)) from error
    return Built(to / MODELS, result.revision, manifest.server.entrypoint, result.warnings)


def _published(ensemble: Ensemble, request: Request, store: Store, compiler: Compiler, work: Path) -> Result:
    config_maps = _write_config_maps(ensemble, work / "configmaps")
    built: list[str] = []
    lock = ""
    for _ in range(MOST_ROUNDS):
        result = assemble.run(
            request=request, config_maps=config_maps, store=store, lock_digest=lock, built=built
        )
        if not result.next:
            return result
        lock = result.lock
        for order in result.next:
            _build(order, lock, store, compiler, work / order.key)
            built.append(order.key)
    raise CommandError(f"nothing is complete after {MOST_ROUNDS} rounds", cure="report this with the log")


def _build(order: NextBuild, lock: str, store: Store, compiler: Compiler, work: Path) -> None:
    work.mkdir()
    build = OrderedBuild(store=store, lock_digest=lock, key=order.key, proof_key=order.proof, work=work)
    fetch.fetch_build(build)
    compiler.run(order, work)
    result = upload.run(build)
    if result.fault:
        raise FaultError(result.fault)
    shutil.rmtree(work)


def _write_config_maps(ensemble: Ensemble, folder: Path) -> Path:
    for name, data in ensemble.config_maps.items():
        (folder / name).mkdir(parents=True)
        for key, text in data.items():
            (folder / name / key).write_text(text, encoding="utf-8")
    return folder


def _place(store: Store, request: Request, revision: str, manifest: Manifest, to: Path) -> None:
    """Fetch the revision beside what is there, then exchange models, plugins, cases and manifest."""
    draft, old = to / f".{MODELS}-new", to / f".{MODELS}-old"
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fetch.fetch_revision(
        store=store,
        namespace=request.namespace,
        name=request.name,
        digest=revision,
        target=request.targets[0].name,
        to=draft,
    )
    (draft / MANIFEST).write_bytes(manifest.canonical())
    if not any((draft / PLUGINS).iterdir()):
        (draft / PLUGINS).rmdir()
    old.mkdir()
    for name in (MODELS, PLUGINS, VERIFICATION, MANIFEST):
        if (to / name).exists():
            (to / name).rename(old / name)
        if (draft / name).exists():
            (draft / name).rename(to / name)
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)


def _cure(fault: Fault) -> str:
    """Of the reason, where it does not speak of a cluster."""
    if fault.code is Reason.SECRET_MISSING:
        return "set them, or take what lies there from a folder: --source s3://BUCKET/PREFIX=FOLDER"
    return REASONS[fault.code].cure


def _explained(fault: Fault) -> str:
    return f"{fault.code.value}: {fault.field + ': ' if fault.field else ''}{fault.message}"
