"""A Debian root file system from debootstrap's own mirror, slimmed to what a container needs."""

import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from localcluster import toolchain
from localcluster.errors import ClusterError

from testimages.catalog import BASE_PACKAGES, SUITE

_DROPPED = (
    "dev/",
    "usr/share/doc/",
    "usr/share/info/",
    "usr/share/lintian/",
    "usr/share/locale/",
    "usr/share/man/",
    "var/cache/",
    "var/lib/apt/lists/",
    "var/log/",
)


def ensure(cache: Path) -> Path:
    """Return the archive of the root file system; made once per list of packages.

    Raises:
        ClusterError: debootstrap fails.

    """
    digest = hashlib.sha256(" ".join((SUITE, *BASE_PACKAGES)).encode()).hexdigest()[:12]
    archive = cache / f"rootfs-{SUITE}-{digest}.tar"
    if archive.is_file():
        return archive
    if toolchain.find("debootstrap") is None:
        toolchain.apt_install(["debootstrap", "debian-archive-keyring"])
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".rootfs-") as scratch:
        root = Path(scratch) / "root"
        command = [
            *(toolchain.find("debootstrap") or "debootstrap", "--variant=minbase"),
            *(f"--include={','.join(BASE_PACKAGES)}", SUITE, str(root)),
        ]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        if result.returncode:
            raise ClusterError(f"debootstrap failed:\n{result.stdout[-3000:]}{result.stderr[-1000:]}")
        fresh = Path(scratch) / "rootfs.tar"
        with tarfile.open(fresh, "w") as target:
            target.add(root, arcname=".", filter=_keep)
        fresh.rename(archive)
    return archive


def _keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = entry.name.removeprefix("./")
    if "__pycache__" in name or any(name.startswith(dropped) and name != dropped for dropped in _DROPPED):
        return None
    return entry
