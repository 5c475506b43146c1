"""Paths below spec.storage.uri.

    blobs/<sha256>                                       bytes by digest: inline texts, ConfigMaps, artifacts
    artifacts/<kind>/<key>.json                          ArtifactRecord, written after its blobs
    proofs/<key>-<proof key>.json                        ProofRecord of an artifact
    timing-caches/<tensorrt>/<gpu>/<sha256>              what TensorRT's builder has measured
    locks/<sha256>.json                                  Lock
    pins/<sha256>.json                                   Pin: the digest of a source as the server named it
    facts/onnx/<sha256>-<revision>.json                  OnnxFacts of a file
    ensembles/<namespace>/<name>/owner.json              Owner
    ensembles/<namespace>/<name>/revisions/<sha256>/manifest.json
                                             .../provenance.json
                                             .../<target>/models/<model>/...
                                             .../<target>/plugins/<file>
                                             .../<target>/verification/...
    ensembles/<namespace>/<name>/reports/<sha256>/<rollout>-<attempt>.json
                                                         VerificationReport of a revision's servers

No path is a folder of another one: gateways that keep objects as files on POSIX refuse that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MODELS = "models"
PLUGINS = "plugins"
VERIFICATION = "verification"
CASES = f"{VERIFICATION}/cases.json"
CONFIG = "config.pbtxt"
KEEP = ".keep"
"""An empty object that makes a version folder exist where a model has no file in it."""


def blob(sha256: str) -> str:
    return f"blobs/{sha256}"


def artifact(kind: str, key: str) -> str:
    return f"artifacts/{kind}/{key}.json"


def proof(key: str, proof_key: str) -> str:
    return f"proofs/{key}-{proof_key}.json"


def timing_caches(tensorrt: str, gpu: str) -> str:
    """The folder of the caches for one TensorRT and GPU, ending in a slash."""
    return f"timing-caches/{_part(tensorrt)}/{_part(gpu)}/"


def _part(text: str) -> str:
    """A name for one level of a path: other characters than these differ between file systems."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text).strip(".") or "any"


def lock(sha256: str) -> str:
    return f"locks/{sha256}.json"


def pin(digest: str) -> str:
    return f"pins/{digest}.json"


def onnx_facts(sha256: str, revision: int) -> str:
    return f"facts/onnx/{sha256}-{revision}.json"


def owner(namespace: str, name: str) -> str:
    return f"ensembles/{namespace}/{name}/owner.json"


def revisions(namespace: str, name: str) -> str:
    """The folder of an ensemble's revisions, ending in a slash."""
    return f"ensembles/{namespace}/{name}/revisions/"


def revision(namespace: str, name: str, digest: str) -> str:
    """The folder of one revision, ending in a slash."""
    return f"{revisions(namespace, name)}{digest}/"


def manifest(namespace: str, name: str, digest: str) -> str:
    return f"{revision(namespace, name, digest)}manifest.json"


def provenance(namespace: str, name: str, digest: str) -> str:
    return f"{revision(namespace, name, digest)}provenance.json"


def reports(namespace: str, name: str) -> str:
    """The folder of an ensemble's reports, ending in a slash; one folder a revision lies in it."""
    return f"ensembles/{namespace}/{name}/reports/"


def report(namespace: str, name: str, digest: str, *, rollout: str, attempt: int) -> str:
    return f"{reports(namespace, name)}{digest}/{rollout}-{attempt}.json"


def is_safe(path: str) -> bool:
    """Whether a relative path stays in its folder on any file system, and is written in one way only."""
    parts = path.split("/")
    return bool(path) and all(
        part not in {"", ".", ".."} and len(part.encode()) <= 255 and "\\" not in part and part.isprintable()  # noqa: PLR2004
        for part in parts
    )


def folder_conflict(paths: Iterable[str]) -> tuple[str, str] | None:
    """A path that is a folder of another one, with that other; None where there is none."""
    known = set(paths)
    for path in sorted(known):
        for end, letter in enumerate(path):
            if letter == "/" and path[:end] in known:
                return path[:end], path
    return None
