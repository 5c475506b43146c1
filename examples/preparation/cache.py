"""Prepared files are made once and kept in ${ENSEMBLES_CACHE:-~/.cache/ensembles-cluster}/examples."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    root = os.environ.get("ENSEMBLES_CACHE") or "~/.cache/ensembles-cluster"
    return Path(root).expanduser() / "examples"


def say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The cached file `name`; where absent, `make` writes it under a temporary name, which is then renamed.

    The name carries a version: change it when `make` changes.
    """
    target = cache_folder() / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as folder:
        unfinished = Path(folder) / target.name
        make(unfinished)
        unfinished.rename(target)
    say(f"made {name} ({target.stat().st_size / 1e6:.1f} MB) in {time.monotonic() - started:.1f} s")
    return target
