"""Packs packages for Triton's Python backend, which unpacks them and sources bin/activate before its stub.

The stub finds its modules by the python3 that comes first on PATH: the archive's is a link to the interpreter
of this image, which the server's image has too, and pyvenv.cfg beside it makes Python take what lies here.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from collections import deque
from pathlib import Path

from ensemble_builder.compilers import child
from ensemble_builder.compilers.building import Building
from ensemble_builder.compilers.parameters import EnvironmentParameters
from ensemble_builder.faults import FaultError
from ensembles_api.contract import BuildOrder, CompileResult, Fault, ModelIO
from ensembles_api.reasons import Reason

ARCHIVE = "environment.tar.gz"
TAIL_LINES = 8
NO_TENSORS = ModelIO(batchable=False, inputs=(), outputs=())
ACTIVATE = """\
environment="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export VIRTUAL_ENV="$environment" PATH="$environment/bin:$PATH"
"""


def pack_environment(order: BuildOrder, *, work: Path) -> CompileResult:
    """Install what the order lists and write `work`/out/environment.tar.gz.

    Raises:
        FaultError: CompileFailed with the end of pip's log.
        OSError: the disk is full.
    """
    building = Building(order, EnvironmentParameters.model_validate(order.parameters), work)
    with building.empty_scratch() as scratch:
        packages = scratch / "packages"
        packages.mkdir()
        _install(building.parameters, packages, scratch, field=f"{order.field}.requirements")
        _write(building.outputs / ARCHIVE, packages)
        installed = sorted(path.name.removesuffix(".dist-info") for path in packages.glob("*.dist-info"))
    return CompileResult(
        files=(ARCHIVE,), io=NO_TENSORS, provenance={"python": sys.version.split()[0], "packages": installed}
    )


def _install(parameters: EnvironmentParameters, packages: Path, scratch: Path, *, field: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--target",
        str(packages),
        "--no-compile",
        "--no-input",
    ]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--prefer-binary"]
    command += ["--index-url", parameters.index_url] if parameters.index_url else []
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with subprocess.Popen(
        [*command, *parameters.requirements],
        cwd=scratch,
        env={**os.environ, "TMPDIR": str(scratch), "HOME": str(scratch)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            print(f"| {line}", end="", flush=True)  # noqa: T201 - the Job's log
            tail.append(line)
    if process.returncode:
        child.check_room("".join(tail))
        message = f"pip cannot install them: {''.join(tail).strip()[-1000:]}"
        raise FaultError(Fault(code=Reason.COMPILE_FAILED, field=field, message=message))


def _write(archive: Path, packages: Path) -> None:
    """The same packages give the same bytes: no times, no owners."""
    interpreter = os.path.realpath(sys.executable)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    config = f"home = {os.path.dirname(interpreter)}\ninclude-system-site-packages = false\n"  # noqa: PTH120
    with (
        archive.open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as target,
    ):
        _add_text(target, "bin/activate", ACTIVATE)
        _add_text(target, "pyvenv.cfg", config)
        link = tarfile.TarInfo("bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, interpreter
        target.addfile(link)
        for path in sorted(path for path in packages.rglob("*") if path.is_file()):
            name = f"lib/{version}/site-packages/{path.relative_to(packages)}"
            target.add(path, name, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _add_text(target: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    target.addfile(entry, io.BytesIO(data))
