"""Libraries that stand for parts of CUDA left out of the GPU image: see tritonserver-gpu/absent/absent.c."""

import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from localcluster import toolchain
from localcluster.errors import ClusterError

from testimages.catalog import ROOT

_SOURCE = ROOT / "tests/images/tritonserver-gpu/absent/absent.c"
_LIBRARIES = {"CUBLAS": "libcublas.so.12", "CUBLASLT": "libcublasLt.so.12", "CUDNN": "libcudnn.so.8"}


def ensure(cache: Path) -> Path:
    """Return an archive of the libraries; each carries its file's name as soname and symbol version.

    Raises:
        ClusterError: no C compiler, or it refuses the source.

    """
    archive = cache / f"absent-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]}.tar"
    if archive.is_file():
        return archive
    toolchain.install_packages(with_c=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".absent-") as scratch:
        folder = Path(scratch)
        with tarfile.open(folder / "absent.tar", "w") as target:
            for macro, library in _LIBRARIES.items():
                _compile(macro, library, folder)
                target.add(folder / library, arcname=library)
        (folder / "absent.tar").rename(archive)
    return archive


def _compile(macro: str, library: str, folder: Path) -> None:
    versions = folder / f"{library}.map"
    versions.write_text(f"{library} {{ global: *; }};\n")
    command = ["gcc", "-shared", "-fPIC", "-Os", f"-D{macro}", f"-Wl,-soname,{library}"]
    command += [f"-Wl,--version-script,{versions}", "-o", str(folder / library), str(_SOURCE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ClusterError(f"{_SOURCE.name} does not compile: {done.stderr[-2000:]}")
