"""Images in containerd: what the kubelet can start without pulling."""

import platform
import subprocess
import tempfile
from pathlib import Path

from localcluster import staticimages
from localcluster.components import program
from localcluster.errors import ClusterError
from localcluster.settings import Settings


def load(settings: Settings, archive: Path) -> list[str]:
    """Import an OCI or Docker archive for the kubelet; return the names of the images in it.

    Raises:
        ClusterError: containerd refuses the archive.

    """
    before = digests(settings)
    _ctr(settings, "images", "import", "--local", str(archive))
    after = digests(settings)
    return sorted(name for name, digest in after.items() if before.get(name) != digest)


def load_system_images(settings: Settings) -> None:
    """Import the pause and CoreDNS images unless they are there."""
    present = digests(settings)
    with tempfile.TemporaryDirectory() as scratch:
        for image in staticimages.SYSTEM_IMAGES:
            if image.name not in present:
                archive = Path(scratch) / f"{image.program}.tar"
                staticimages.write_archive(
                    archive, image, binaries=settings.binaries, machine=platform.machine()
                )
                _ctr(settings, "images", "import", "--local", str(archive))


def digests(settings: Settings) -> dict[str, str]:
    """Name -> digest of every image with a name."""
    lines = _ctr(settings, "images", "ls").splitlines()[1:]
    rows = [line.split() for line in lines if line]
    return {row[0]: row[2] for row in rows if not row[0].startswith("sha256:") and "@" not in row[0]}


def blobs(settings: Settings) -> frozenset[str]:
    """Digests of the manifests and layers that containerd holds."""
    return frozenset(_ctr(settings, "content", "ls", "-q").split())


def answers(settings: Settings) -> bool:
    """Tell whether containerd serves requests."""
    try:
        _ctr(settings, "version")
    except ClusterError:
        return False
    return True


def _ctr(settings: Settings, *arguments: str) -> str:
    command = [str(program(settings, "ctr")), "-a", str(settings.containerd_socket), "-n", "k8s.io"]
    result = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)
    if result.returncode:
        raise ClusterError(f"ctr {' '.join(arguments)}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout
