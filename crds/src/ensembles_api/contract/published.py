"""Published revisions: the manifest."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ensembles_api.contract.documents import CONTRACT, Document, Sha256
from ensembles_api.contract.wanted import Versions


class ManifestFile(Document):
    sha256: Sha256
    size: int
    mode: int = 0o644


class ServerRequirements(Document):
    """What the published configs ask of the server and its pod."""

    args: tuple[str, ...] = ()
    """tritonserver options derived from the configs (cache, rate limit, auto-complete)."""
    shared_memory_mib: int = 64
    gpu: bool = False
    entrypoint: str = ""
    plugins: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Backend -> paths, below the target's folder, of the shared libraries it loads, in order."""
    sticky_sessions: bool = False
    """A model keeps state per client: requests of one client must reach one replica."""


class TargetManifest(Document):
    """Files of one target by path in its folder: models/<model>/..., plugins/<file>, verification/<...>."""

    files: dict[str, ManifestFile]


class Manifest(Document):
    """manifest.json of a revision; its digest is the revision's name.

    It does not name the lock: pinning again what has not changed gives the same revision.
    """

    contract: Literal[1] = CONTRACT
    namespace: str
    name: str
    server_image: str
    versions: Versions
    server: ServerRequirements
    targets: dict[str, TargetManifest]
