"""OCI archives without the layers that containerd has, so that a new build moves only what is new."""

import hashlib
import io
import json
import tarfile
from collections.abc import Collection
from pathlib import Path


def write(archive: Path, folder: Path, reference: str, *, present: Collection[str]) -> None:
    """Write the image that ``buildah.save`` left in ``folder``, without the layers listed in ``present``."""
    manifest = (folder / "manifest.json").read_bytes()
    document = json.loads(manifest)
    digest = hashlib.sha256(manifest).hexdigest()
    entry = {
        "mediaType": document["mediaType"],
        "digest": f"sha256:{digest}",
        "size": len(manifest),
        "annotations": {"io.containerd.image.name": reference},
    }
    wanted = [layer["digest"] for layer in document["layers"] if layer["digest"] not in present]
    with tarfile.open(archive, "w") as target:
        _add(target, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _add(target, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
        _add(target, f"blobs/sha256/{digest}", manifest)
        for blob in dict.fromkeys((document["config"]["digest"], *wanted)):
            name = blob.partition(":")[2]
            target.add(folder / name, arcname=f"blobs/sha256/{name}")


def _add(target: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    target.addfile(entry, io.BytesIO(content))
