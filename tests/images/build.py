#!/usr/bin/env python3
"""Builds the test images and loads them into the cluster. ``build.py --help`` lists what it does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cluster"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from testimages.cli import main

if __name__ == "__main__":
    sys.exit(main())
