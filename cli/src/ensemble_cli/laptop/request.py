"""What the operator would ask the builder for, from an ensemble and this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from ensemble_builder.storage.folder import Mount
from ensemble_builder.storage.store import Store
from ensemble_cli.ensembles import Ensemble
from ensemble_cli.exits import CommandError, Exit
from ensembles_api.architectures import architecture_of
from ensembles_api.contract import Request, StorageLocation, TargetRequest, credentials_prefix
from ensembles_api.names import SECRET_ACCESS_KEY_ID, SECRET_SECRET_ACCESS_KEY, SECRET_SESSION_TOKEN
from ensembles_api.sources import iter_sources
from ensembles_api.spec import InferenceEnsembleSpec
from ensembles_api.targets import stated_targets

KEYS = (SECRET_ACCESS_KEY_ID, SECRET_SECRET_ACCESS_KEY, SECRET_SESSION_TOKEN)


def make_request(ensemble: Ensemble, *, target: str, server_image: str, builder_image: str) -> Request:
    """The request for one target: this machine is one kind of server.

    Args:
        ensemble: what to build.
        target: of spec.serving.targets; empty takes the first.
        server_image: where the spec names none.
        builder_image: where the spec names none.

    Raises:
        CommandError: there is no such target.
    """
    runtime = ensemble.spec.runtime
    return Request(
        namespace=ensemble.namespace,
        name=ensemble.name,
        models=tuple(ensemble.spec.models),
        repository=ensemble.spec.repository,
        entrypoint=ensemble.spec.entrypoint,
        verification=ensemble.spec.verification,
        targets=(_target(ensemble.spec, target),),
        server_image=server_image or runtime.server_image or "",
        builder_image=builder_image or runtime.builder_image or "",
        architecture=architecture_of(platform.machine()),
    )


def _target(spec: InferenceEnsembleSpec, name: str) -> TargetRequest:
    targets = {target.name: target for target in stated_targets(spec)}
    if name and name not in targets:
        known = ", ".join(targets)
        raise CommandError(f"no target {name!r}", cure=f"the spec has {known}", status=Exit.USAGE)
    return targets[name] if name else next(iter(targets.values()))


def parse_source(text: str) -> tuple[str, Mount]:
    """The bucket and mount of s3://bucket/prefix=FOLDER.

    Raises:
        CommandError: it is written otherwise, or there is no such file or folder.
    """
    uri, _, folder = text.partition("=")
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not folder:
        raise CommandError(
            f"{text!r} is no source", cure="write --source s3://bucket/prefix=FOLDER", status=Exit.USAGE
        )
    path = Path(folder).absolute()
    if not path.exists():
        raise CommandError(f"{folder} does not exist", cure="check --source", status=Exit.USAGE)
    stem = prefix.rstrip("/")
    return bucket, Mount(f"{stem}/" if stem and path.is_dir() else stem, path)


def local_store(ensemble: Ensemble, folder: Path, sources: Iterable[str]) -> Store:
    """Storage in a folder. Buckets named by `sources` are folders of this machine, all others are asked with
    the AWS_* variables of the environment, whatever Secret the spec names.
    """
    mounts: dict[str, tuple[Mount, ...]] = {}
    for text in sources:
        bucket, mount = parse_source(text)
        mounts[bucket] = (*mounts.get(bucket, ()), mount)
    storage = ensemble.spec.storage
    location = StorageLocation(
        uri=folder.absolute().as_uri(),
        endpoint=storage.endpoint,
        region=storage.region,
        addressing_style=storage.addressing_style,
    )
    return Store(location, folders=mounts, environ=_environ(ensemble.spec))


def _environ(spec: InferenceEnsembleSpec) -> Mapping[str, str]:
    named = {source.secret_name for _, source in iter_sources(spec)}
    named.add(spec.repository.secret_name if spec.repository else None)
    given = {name: os.environ[name] for name in KEYS if name in os.environ}
    under = {f"{credentials_prefix(secret)}{name}": key for secret in named for name, key in given.items()}
    return {**os.environ, **under}
