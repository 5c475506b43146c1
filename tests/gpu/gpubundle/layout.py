"""Images as one OCI layout: a folder of blobs in which images share their layers."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testimages import buildah, building
from testimages.catalog import Image

_NOTE = "built-from.json"


def ensure(cache: Path, images: Sequence[Image]) -> Path:
    """Build the images and write their blobs, those that are not there yet; the layout's folder."""
    layout = cache / "gpu-images"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    known = _read(layout / _NOTE)
    entries: dict[str, Any] = {}
    with building.alone(cache):
        for image in images:
            digest = building.build(cache, image)
            entry = known.get(image.reference)
            if entry is None or entry["inputs"] != digest:
                entry = {"inputs": digest, **_save(cache, image, blobs)}
            entries[image.reference] = entry
    (layout / _NOTE).write_text(json.dumps(entries, indent=1) + "\n")
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    manifests = [entry["descriptor"] for entry in entries.values()]
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    used = {blob for entry in entries.values() for blob in entry["blobs"]}
    for stale in {path.name for path in blobs.iterdir()} - used:
        (blobs / stale).unlink()
    return layout


def files(layout: Path) -> list[Path]:
    """What of the folder belongs to the layout."""
    blobs = sorted((layout / "blobs" / "sha256").iterdir())
    return [layout / "oci-layout", layout / "index.json", *blobs]


def _save(cache: Path, image: Image, blobs: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=cache, prefix=".image-") as scratch:
        folder = Path(scratch)
        buildah.save(cache, image.reference, folder)
        manifest = (folder / "manifest.json").read_bytes()
        document = json.loads(manifest)
        digest = hashlib.sha256(manifest).hexdigest()
        (blobs / digest).write_bytes(manifest)
        names = [document["config"]["digest"], *(layer["digest"] for layer in document["layers"])]
        names = list(dict.fromkeys(name.partition(":")[2] for name in names))
        for name in names:
            shutil.move(folder / name, blobs / name)
            (blobs / name).chmod(0o644)
    descriptor = {
        "mediaType": document["mediaType"],
        "digest": f"sha256:{digest}",
        "size": len(manifest),
        "annotations": {"io.containerd.image.name": image.reference},
    }
    return {"descriptor": descriptor, "blobs": [digest, *names]}


def _read(note: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(note.read_text())
    except FileNotFoundError:
        return {}
    return document
