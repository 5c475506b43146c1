"""Images of one static program FROM scratch, written as OCI archives without any image tool."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localcluster import parts

_VERSIONS = {part.name: part.version for part in parts.PARTS}

PAUSE = f"localhost/ensembles/pause:{_VERSIONS['pause']}"
COREDNS = f"localhost/ensembles/coredns:{_VERSIONS['coredns']}"

_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class StaticImage:
    """One program at the root of an otherwise empty file system, with a writable /tmp."""

    name: str
    program: str


SYSTEM_IMAGES = (StaticImage(PAUSE, "pause"), StaticImage(COREDNS, "coredns"))


def write_archive(target: Path, image: StaticImage, *, binaries: Path, machine: str) -> None:
    """Write an OCI archive that ``ctr images import`` takes. ``machine`` is what ``uname -m`` says."""
    layer = _layer(binaries / image.program, image.program)
    digest = _digest(layer)
    config = _json(
        {
            "architecture": _ARCHITECTURE.get(machine, machine),
            "os": "linux",
            "config": {"Entrypoint": [f"/{image.program}"]},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    )
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                **_descriptor("application/vnd.oci.image.manifest.v1+json", manifest),
                "annotations": {"io.containerd.image.name": image.name},
            }
        ],
    }
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index)}
    files |= {f"blobs/sha256/{_digest(blob)[7:]}": blob for blob in (layer, config, manifest)}
    _write_tar(target, files)


def _layer(program: Path, name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        layer.addfile(folder)
        entry = tarfile.TarInfo(name)
        entry.mode, entry.size = 0o755, program.stat().st_size
        with program.open("rb") as content:
            layer.addfile(entry, content)
    return buffer.getvalue()


def _write_tar(target: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(target, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o644, len(content)
            archive.addfile(entry, io.BytesIO(content))


def _descriptor(media_type: str, blob: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(document: object) -> bytes:
    return json.dumps(document).encode()
