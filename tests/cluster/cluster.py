#!/usr/bin/env python3
"""A real single-node Kubernetes cluster without Docker. ``cluster.py --help`` lists what it does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from localcluster.cli import main

if __name__ == "__main__":
    sys.exit(main())
