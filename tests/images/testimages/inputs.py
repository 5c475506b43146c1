"""What goes into a build: the files themselves, and one digest over all of it."""

import hashlib
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from localcluster.errors import ClusterError

from testimages.catalog import BASE_PACKAGES, ROOT, SUITE, Image


def files(image: Image) -> list[Path]:
    """Files of an image, relative to the repository's root: what git tracks or would track.

    Raises:
        ClusterError: the Dockerfile does not exist.

    """
    if not (ROOT / image.dockerfile).is_file():
        raise ClusterError(f"{image.name}: {image.dockerfile} does not exist")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *image.inputs]
    listed: Iterable[str] = ()
    if image.inputs:
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        listed = output.split("\0")
    found = {Path(name) for name in (*listed, image.dockerfile) if name}
    return sorted(name for name in found if (ROOT / name).is_file())


def digest(image: Image, *, base_digest: str) -> str:
    """Digest over everything that decides an image's content."""
    total = hashlib.sha256(f"{image.dockerfile}\0{base_digest}\0".encode())
    if image.name == "base":
        total.update(" ".join((SUITE, *BASE_PACKAGES)).encode())
    for name in files(image):
        path = ROOT / name
        executable = bool(path.stat().st_mode & 0o100)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{name}\0{executable}\0{content}\n".encode())
    return total.hexdigest()


def stage(image: Image, target: Path) -> None:
    """Copy the files of an image into an empty build context."""
    for name in files(image):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
