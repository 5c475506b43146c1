"""Reads what the user's cases name, and checks them against the models of a target."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ensemble_builder.artifacts.cases import Read, Surroundings, user_cases
from ensemble_builder.artifacts.labels import LabelLookup
from ensemble_builder.artifacts.members import Placed
from ensemble_builder.artifacts.sources import by_field
from ensemble_builder.commands.origins import download_of, fields_of
from ensemble_builder.modelconfig import GeneratedRepository
from ensemble_builder.storage.download import download
from ensemble_builder.storage.store import Store
from ensembles_api.contract import Lock, LockedFile, LockedSource
from ensembles_api.verification import VerificationCase


def reader(store: Store, sources: Sequence[LockedSource]) -> Read:
    """Reads locked files whole, each once; their digests are checked."""
    fields = fields_of(sources)

    @cache
    def read(file: LockedFile) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "file")
            download([download_of(store, file, target, fields)], scratch=Path(folder, "scratch"))
            return target.read_bytes()

    return read


def cases_of(
    lock: Lock,
    models: Sequence[Placed],
    generated: GeneratedRepository,
    read: Read,
    *,
    partial: bool = False,
) -> tuple[tuple[VerificationCase, ...], dict[str, LockedFile | bytes]]:
    """The user's cases for one target, and their files by path below its folder.

    Args:
        lock: with the request.
        models: of the target.
        generated: their configs.
        read: as `reader` makes it.
        partial: some artifacts are not built yet.

    Raises:
        FaultError: InvalidSpec naming the field of a case that cannot work.
    """
    files = {placed.member.name: placed.folder.files for placed in models}
    return user_cases(
        lock.request,
        Surroundings(
            locked=by_field(lock.sources),
            models=tuple(files),
            configs=generated.parsed,
            open_models=frozenset(placed.member.name for placed in models if placed.member.left_to_server),
            entrypoint=generated.entrypoint,
            labels=LabelLookup(generated.parsed, files, read),
            read=read,
            partial=partial,
        ),
    )
