"""What is in a bundle, and where: the machine's code (gpumachine.places) reads the same names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gpumachine.places import CLUSTER, EXAMPLE, IMAGES, NETTOOLS, NVIDIA
from localcluster import build, parts
from testimages.catalog import Image, by_name

from gpubundle import layout, nettools, nvidia

_IMAGES = ("base", "operator", "tools", "tritonserver-gpu", "builder-gpu")
Files = list[tuple[str, Path]]


def collect(cache: Path, example: Path) -> Files:
    """Build what is missing; every file by its path in the bundle.

    Args:
        cache: of built programs and images.
        example: folder that examples/efficientnet/prepare.py filled, and a photograph.

    Raises:
        ClusterError: something does not build.
    """
    build.build(cache)
    images = [image for name in _IMAGES if isinstance(image := by_name(name), Image)]
    images_folder = layout.ensure(cache, images)
    return [
        *_programs(cache),
        *_tree(NVIDIA, nvidia.ensure(cache)),
        *_tree(NETTOOLS, nettools.ensure(cache)),
        *_tree(EXAMPLE, example),
        *((f"{IMAGES}/{path.relative_to(images_folder)}", path) for path in layout.files(images_folder)),
    ]


def _programs(cache: Path) -> Files:
    """The cluster's programs, laid out as its cache: `cluster.py up` then finds nothing to build."""
    found: Files = []
    for part in parts.PARTS:
        found += _tree(f"{CLUSTER}/parts/{parts.key(part)}", cache / "parts" / parts.key(part))
    return found


def _tree(prefix: str, folder: Path) -> Files:
    return [(f"{prefix}/{path.relative_to(folder)}", path) for path in _walk(folder)]


def _walk(folder: Path) -> Sequence[Path]:
    found = []
    for root, _, names in os.walk(folder):
        found += [Path(root) / name for name in names]
    return sorted(found)
