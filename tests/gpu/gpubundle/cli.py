"""The command line of the machine that packs."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gpumachine import pieces
from gpumachine.places import PHOTOGRAPHS
from localcluster import settings
from localcluster.errors import ClusterError
from testimages import buildah
from testimages.catalog import ROOT

from gpubundle import contents, photographs

_PHOTOGRAPH = "coffee.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an expected failure becomes one line and status 1."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ClusterError, pieces.BundleError) as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    return 0


def _build(arguments: argparse.Namespace) -> None:
    if os.geteuid() != 0:
        raise ClusterError("building images needs root")
    buildah.require()
    started = time.monotonic()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.cache, prefix=".example-") as folder:
        example = Path(folder)
        _prepare(example)
        photographs.write(photographs.originals(), example / PHOTOGRAPHS)
        files = contents.collect(arguments.cache, example)
        names = pieces.pack(files, arguments.bundle, workers=os.cpu_count() or 1)
    size = sum((arguments.bundle / pieces.FOLDER / name).stat().st_size for name in names)
    seconds = time.monotonic() - started
    print(f"{arguments.bundle}: {len(names)} pieces, {size >> 20} MiB, in {seconds:.0f} s")


def _loads(arguments: argparse.Namespace) -> None:
    """Put the index, and the pieces that the machine lacks, into folders of limited size, to be copied one by
    one. The index goes every time: it says which pieces make which files.
    """
    have = arguments.have.read_text().split() if arguments.have else []
    wanted = [arguments.bundle / pieces.INDEX, *pieces.missing(arguments.bundle, have)]
    groups = pieces.loads(wanted, arguments.limit << 20)
    shutil.rmtree(arguments.out, ignore_errors=True)
    for number, group in enumerate(groups):
        folder = arguments.out / f"{number:02}"
        folder.mkdir(parents=True)
        for piece in group:
            os.link(piece, folder / piece.name)
        size = sum(piece.stat().st_size for piece in group)
        print(f"{folder}: {len(group)} files, {size / (1 << 20):.1f} MiB")


def _prepare(folder: Path) -> None:
    """The files of examples/efficientnet, made in a process of its own, and a photograph."""
    script = ROOT / "examples/efficientnet/prepare.py"
    done = subprocess.run([sys.executable, script, folder], check=False, capture_output=True, text=True)
    if done.returncode:
        raise ClusterError(f"{script.name} failed (run this with the project's Python): {done.stderr[-800:]}")
    shutil.copyfile(photographs.originals()[0], folder / _PHOTOGRAPH)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bundle.py", description="Pack what a machine with a GPU needs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="build and pack; pieces that did not change stay")
    build.set_defaults(run=_build)
    build.add_argument("--cache", type=Path, default=settings.default_cache(), help="of builds")
    loads = commands.add_parser(
        "loads", help="sort pieces into folders of limited size, to be copied in turn"
    )
    loads.set_defaults(run=_loads)
    loads.add_argument("out", type=Path, help="folder to write; links, no copies")
    loads.add_argument("--have", type=Path, help="file naming the pieces that the machine has")
    loads.add_argument("--limit", type=int, default=60, help="MiB of one folder (60)")
    for command in (build, loads):
        command.add_argument("--bundle", type=Path, default=ROOT / "build" / "gpu-bundle", help="its folder")
    return parser
