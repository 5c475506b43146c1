#!/usr/bin/env python3
"""From nothing to an answered inference on a real cluster: `demo.py up`; `demo.py down` removes it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from livedemo.cli import main

if __name__ == "__main__":
    sys.exit(main())
