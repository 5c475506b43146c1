"""Laying an example's files out as they are uploaded."""

from __future__ import annotations

import shutil
from pathlib import Path


def copy_sources(example: Path, output: Path, *names: str) -> None:
    """Copies source files and folders of an example, without what Python leaves beside them."""
    output.mkdir(parents=True, exist_ok=True)
    for name in names:
        source = example / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, output / name, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, output / name)


def put(file: Path, target: Path) -> None:
    """Copies a prepared file to its place, making the folders above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)
