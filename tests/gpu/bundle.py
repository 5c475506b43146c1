#!/usr/bin/env python3
"""Packs what a machine with a GPU needs. ``bundle.py --help`` lists what it does."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "cluster", HERE.parent / "images", HERE.parents[1] / "examples"):
    sys.path.insert(0, str(folder))

from gpubundle.cli import main  # noqa: E402 - found by the path above

if __name__ == "__main__":
    sys.exit(main())
