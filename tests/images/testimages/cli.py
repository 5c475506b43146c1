"""The command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from localcluster import settings as cluster_settings
from localcluster.errors import ClusterError

from testimages import buildah, building
from testimages.catalog import IMAGES, ROOT, Image, ProgramImage, by_name


def main(argv: Sequence[str] | None = None) -> int:
    """Build and load images; an expected failure becomes one line and status 1."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except ClusterError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    chosen = [_named(name) for name in arguments.name] or [image for image in IMAGES if _is_usual(image)]
    if os.geteuid() != 0:
        raise ClusterError("building images needs root")
    buildah.require()
    target = None if arguments.no_load else cluster_settings.load(arguments.state)
    with building.alone(arguments.cache):
        for image in chosen:
            digest = building.build(arguments.cache, image)
            if target:
                building.load(target, image, digest)
    print(f"up to date: {', '.join(image.reference for image in chosen)}")


def _named(name: str) -> Image | ProgramImage:
    image = by_name(name)
    if image is None:
        raise ClusterError(f"unknown image {name}; there are {', '.join(known.name for known in IMAGES)}")
    return image


def _is_usual(image: Image | ProgramImage) -> bool:
    """Whether it is built where no image is named."""
    if isinstance(image, ProgramImage):
        return True
    if image.on_demand:
        return False
    if (ROOT / image.dockerfile).is_file():
        return True
    print(f"skipping {image.name}: {image.dockerfile} does not exist")
    return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="build.py", description="Build the test images and load them.")
    names = ", ".join(image.name for image in IMAGES)
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"of {names}; default: all")
    parser.add_argument("--no-load", action="store_true", help="build only")
    parser.add_argument("--state", type=Path, default=cluster_settings.default_state(), help="of the cluster")
    parser.add_argument("--cache", type=Path, default=cluster_settings.default_cache(), help="of builds")
    return parser
