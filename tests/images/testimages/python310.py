"""CPython 3.10 for the GPU image: TensorRT 8.6, the last with complete wheels, has none for a later Python.

Debian bookworm has 3.11 alone, so an installed 3.10 is copied: one that was configured with a shared library,
as pyenv builds it with PYTHON_CONFIGURE_OPTS=--enable-shared.
"""

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from localcluster import toolchain
from localcluster.errors import ClusterError

TARGET = "opt/python3.10"
_QUESTION = (
    "import json, sys, sysconfig; print(json.dumps([sys.version.split()[0], sys.base_prefix, "
    "sysconfig.get_config_var('INSTSONAME'), sysconfig.get_config_var('LIBDIR')]))"
)
_DROPPED = ("/test/", "/tests/", "/__pycache__/", "/idlelib/", "/turtledemo/", "/tkinter/", "/config-3.10")


def ensure(cache: Path) -> Path:
    """Return an archive with the interpreter under /opt/python3.10 and its library where the linker looks.

    Raises:
        ClusterError: there is no such Python; $ENSEMBLES_PYTHON310 may name one.

    """
    version, prefix, library, folder = _found()
    archive = cache / f"python-{version}.tar"
    if archive.is_file():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".python-") as scratch:
        fresh = Path(scratch) / "python.tar"
        with tarfile.open(fresh, "w") as target:
            for name in ("python3", "python3.10"):
                target.add(prefix / "bin" / name, arcname=f"{TARGET}/bin/{name}")
            target.add(prefix / "lib" / "python3.10", arcname=f"{TARGET}/lib/python3.10", filter=_keep)
            target.add(folder / library, arcname=f"usr/lib/x86_64-linux-gnu/{library}")
        fresh.rename(archive)
    return archive


def _found() -> tuple[str, Path, str, Path]:
    """Version, prefix, name of the shared library and its folder."""
    for program in _candidates():
        done = subprocess.run([program, "-c", _QUESTION], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            version, prefix, library, folder = json.loads(done.stdout)
            if version.startswith("3.10.") and ".so." in library:
                return version, Path(prefix), library, Path(folder)
    raise ClusterError(
        "no Python 3.10 with a shared library: name one in ENSEMBLES_PYTHON310, or build it with "
        "`PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.10`"
    )


def _candidates() -> list[str]:
    named = os.environ.get("ENSEMBLES_PYTHON310")
    built = sorted(Path("~/.pyenv/versions").expanduser().glob("3.10.*/bin/python3.10"))
    on_path = shutil.which("python3.10", path=toolchain.search_path())
    return [named] if named else [*map(str, built), *([on_path] if on_path else [])]


def _keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out tests, caches and what a user installed."""
    path = f"/{entry.name}/"
    in_packages = "/site-packages/" in path and not path.endswith("/site-packages/")
    if any(dropped in path for dropped in _DROPPED) or (in_packages and "/site-packages/pip" not in path):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
