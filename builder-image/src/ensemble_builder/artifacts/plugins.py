"""Plugins: shared libraries that builder and server load before a model that needs them.

They are published beside models/, never inside: Triton takes every folder there for a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ensemble_builder.artifacts.layout import PLUGINS
from ensemble_builder.artifacts.sources import Locked, Version, versions
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault, LockedFile, Request
from ensembles_api.reasons import Reason
from ensembles_api.spec import Dali, TensorRT

NAME = re.compile(r"[A-Za-z0-9_.+\-]+")
"""File names that need no quoting: the server takes lists of paths, separated by `;` or `:`."""


@dataclass(frozen=True)
class Plugin:
    """`field`: its source in the resource. `file`: under its path below the target's folder."""

    field: str
    backend: str
    file: LockedFile


def plugins(version: Version, locked: Locked) -> Iterator[Plugin]:
    """A model version's plugins, in the order in which they are loaded.

    Raises:
        FaultError: InvalidSpec where a file's name cannot be passed on.
    """
    if not isinstance(version.definition, Dali | TensorRT):
        return
    for place in range(len(version.definition.plugins)):
        field = f"{version.field}.plugins[{place}]"
        file = locked[field].files[0]
        if not NAME.fullmatch(file.path):
            message = f"{file.path!r} cannot be a plugin's name: use letters, digits, _ . + and -"
            raise _fault(field, message)
        yield Plugin(field, version.kind, file.model_copy(update={"path": f"{PLUGINS}/{file.path}"}))


def published_plugins(request: Request, locked: Locked) -> tuple[Plugin, ...]:
    """All plugins of a repository, each once for its backend: a server loads them for all its models.

    Raises:
        FaultError: InvalidSpec where two different files have the same name.
    """
    found: dict[tuple[str, str], Plugin] = {}
    files: dict[str, Plugin] = {}
    for version in versions(request):
        for plugin in plugins(version, locked):
            first = files.setdefault(plugin.file.path, plugin)
            if first.file.sha256 != plugin.file.sha256:
                message = (
                    f"{first.field} is another file of the same name, and one server loads both: rename one"
                )
                raise _fault(plugin.field, message)
            found.setdefault((plugin.backend, plugin.file.path), plugin)
    return tuple(found.values())


def by_backend(published: tuple[Plugin, ...]) -> Mapping[str, tuple[str, ...]]:
    """Backend -> paths of its plugins, in order."""
    backends = dict.fromkeys(plugin.backend for plugin in published)
    return {
        backend: tuple(plugin.file.path for plugin in published if plugin.backend == backend)
        for backend in backends
    }


def _fault(field: str, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.INVALID_SPEC, field=field, message=message))
