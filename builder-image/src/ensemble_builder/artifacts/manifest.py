"""A revision: its files, its manifest and its digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ensemble_builder.artifacts.documents import sha256
from ensemble_builder.artifacts.layout import CONFIG, MODELS, folder_conflict
from ensemble_builder.artifacts.members import Placed
from ensemble_builder.faults import FaultError
from ensembles_api.contract import (
    BuildOrder,
    Fault,
    Lock,
    LockedFile,
    Manifest,
    ManifestFile,
    ServerRequirements,
    TargetManifest,
)
from ensembles_api.reasons import Reason

TargetFiles = Mapping[str, LockedFile | bytes]
"""Path below the target's folder -> bytes, or a file that lies elsewhere in storage."""


@dataclass(frozen=True)
class Revision:
    """Everything a published revision consists of."""

    manifest: Manifest
    targets: Mapping[str, TargetFiles]

    @property
    def digest(self) -> str:
        return self.manifest.digest()


def model_files(models: tuple[Placed, ...], configs: Mapping[str, str]) -> dict[str, LockedFile | bytes]:
    """Files of all models by path below the target's folder; a given config stands where none was
    generated.
    """
    files: dict[str, LockedFile | bytes] = {}
    for placed in models:
        name = placed.member.model.name
        base = f"{MODELS}/{name}"
        files.update({f"{base}/{path}": file for path, file in placed.folder.files.items()})
        if placed.folder.given_config and placed.member.untouched:
            files[f"{base}/{CONFIG}"] = placed.folder.given_config
        elif name in configs:
            files[f"{base}/{CONFIG}"] = configs[name].encode()
    return files


def make_revision(lock: Lock, targets: Mapping[str, TargetFiles], server: ServerRequirements) -> Revision:
    """The manifest over all targets.

    The lock is not part of it: two locks that give the same files give the same revision, so that pinning
    again what has not changed restarts no server.

    Raises:
        FaultError: InvalidModel where one file would be the folder of another.
    """
    for files in targets.values():
        if conflict := folder_conflict(files):
            message = f"{conflict[0]} would be a file and the folder of {conflict[1]}: rename one"
            raise FaultError(Fault(code=Reason.INVALID_MODEL, field="spec.models", message=message))
    request = lock.request
    manifest = Manifest(
        namespace=request.namespace,
        name=request.name,
        server_image=request.server_image,
        versions=request.versions,
        server=server,
        targets={
            target: TargetManifest(files={path: _entry(file) for path, file in sorted(files.items())})
            for target, files in sorted(targets.items())
        },
    )
    return Revision(manifest, targets)


def _entry(file: LockedFile | bytes) -> ManifestFile:
    if isinstance(file, bytes):
        return ManifestFile(sha256=sha256(file), size=len(file))
    return ManifestFile(sha256=file.sha256, size=file.size, mode=file.mode)


def engine_args(orders: Sequence[BuildOrder]) -> tuple[str, ...]:
    """Tritonserver options that engines need: a version-compatible one is refused without its own.

    Args:
        orders: of the artifacts that the server is to load.
    """
    builders = (order.parameters.get("builder", {}) for order in orders if order.kind == "tensorrt")
    compatible = any(builder.get("version_compatible") for builder in builders)
    return ("--backend-config=tensorrt,version-compatible=true",) if compatible else ()


def merged(requirements: Mapping[str, ServerRequirements]) -> ServerRequirements:
    """What all targets' configs together ask: one set of server options serves every target.

    Argument: target -> its requirements, at least one.
    """
    found = list(requirements.values())
    return ServerRequirements(
        args=tuple(dict.fromkeys(arg for each in found for arg in each.args)),
        shared_memory_mib=max(each.shared_memory_mib for each in found),
        gpu=any(each.gpu for each in found),
        entrypoint=found[0].entrypoint,
        plugins=found[0].plugins,
        sticky_sessions=any(each.sticky_sessions for each in found),
    )
