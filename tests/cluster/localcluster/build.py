"""Builds the parts into the cache; a part that is there already is left alone."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from localcluster import parts, toolchain
from localcluster.errors import ClusterError
from localcluster.parts import CPart, GoPart, Part


def build(cache: Path, *, only: Sequence[str] = ()) -> None:
    """Build the parts named in ``only`` (default: a cluster's) and link their programs into ``cache/bin``.

    Raises:
        ClusterError: an unknown part, a missing tool, or a compiler's error.

    """
    wanted = _chosen(only)
    with _locked(cache):
        missing = [part for part in wanted if not _folder(cache, part).is_dir()]
        if missing:
            toolchain.install_packages(with_c=any(_needs_c(part) for part in missing))
        env = _environment(cache) if any(isinstance(part, GoPart) for part in missing) else {}
        for number, part in enumerate(missing, 1):
            started = time.monotonic()
            print(f"build {part.name} {part.version} ({number} of {len(missing)}) …", flush=True)
            _build_part(cache, part, env)
            print(f"build {part.name} {part.version}: {time.monotonic() - started:.0f} s", flush=True)
        for part in wanted:
            _link(cache, part)


def _chosen(names: Sequence[str]) -> list[Part]:
    known = {part.name: part for part in (*parts.PARTS, *parts.EXTRAS)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ClusterError(f"unknown part {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(parts.PARTS)


def _folder(cache: Path, part: Part) -> Path:
    return cache / "parts" / parts.key(part)


def _needs_c(part: Part) -> bool:
    return isinstance(part, CPart) or part.cgo


def _environment(cache: Path) -> dict[str, str]:
    go = toolchain.go(cache)
    return {
        **os.environ,
        "PATH": f"{go.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "GOFLAGS": "-buildvcs=false",
        "GOWORK": "off",
    }


def _build_part(cache: Path, part: Part, env: Mapping[str, str]) -> None:
    target = _folder(cache, part)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as scratch:
        out = Path(scratch) / "out"
        out.mkdir()
        if isinstance(part, CPart):
            _compile_c(part, out)
        elif part.source:
            _build_main(part, out, env)
        else:
            _install(part, out, env)
        absent = [name for name in part.binaries if not (out / name).is_file()]
        if absent:
            raise ClusterError(f"{part.name}: the build ended without {', '.join(absent)}")
        for link in part.links if isinstance(part, GoPart) else ():
            (out / link).symlink_to(part.binaries[0])
        out.chmod(0o755)
        out.rename(target)


def _build_main(part: GoPart, out: Path, env: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="ensembles-src-") as scratch:
        source = Path(scratch) / part.name
        shutil.copytree(parts.SOURCES / part.source, source)
        target = out if part.packages else out / part.binaries[0]
        command = ["go", "build", *_go_flags(part), "-o", str(target), *(part.packages or ["."])]
        _run(part, command, {**env, "CGO_ENABLED": "1" if part.cgo else "0"}, source)


def _install(part: GoPart, out: Path, env: Mapping[str, str]) -> None:
    packages = [
        f"{part.module}/{package}@v{part.version}" if package else f"{part.module}@v{part.version}"
        for package in part.packages
    ]
    command = ["go", "install", *_go_flags(part), *packages]
    # Outside any module, so that the module's own go.mod alone decides its dependencies.
    _run(part, command, {**env, "GOBIN": str(out), "CGO_ENABLED": "1" if part.cgo else "0"}, out)


def _go_flags(part: GoPart) -> list[str]:
    return ["-trimpath", *(["-tags", part.tags] if part.tags else []), "-ldflags", part.ldflags]


def _compile_c(part: CPart, out: Path) -> None:
    source = str(parts.SOURCES / part.source)
    command = ["gcc", "-Os", "-s", "-static", "-o", str(out / part.binaries[0]), source]
    _run(part, command, os.environ, out)


def _run(part: Part, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
    result = subprocess.run(
        command, env=dict(env), cwd=cwd, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if result.returncode:
        sys.stderr.write(result.stdout + result.stderr)
        raise ClusterError(f"{part.name} {part.version} does not build (above: output of {command[0]})")


def _link(cache: Path, part: Part) -> None:
    folder = cache / "bin"
    folder.mkdir(exist_ok=True)
    for name in (*part.binaries, *(part.links if isinstance(part, GoPart) else ())):
        target = _folder(cache, part) / name
        link = folder / name
        if link.is_symlink() and link.readlink() == target:
            continue
        fresh = folder / f".{name}.{os.getpid()}"
        fresh.symlink_to(target)
        fresh.replace(link)


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """One build at a time per cache: a second one waits and then finds everything there."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
