"""A container's first process hears SIGTERM from its beginning."""

from __future__ import annotations

import subprocess
import sys

STOPPED = 143


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)


def test_nothing_large_is_imported_before_the_signal_is_heeded() -> None:
    found = run("import sys, ensemble_builder.start; print(*sys.modules)").stdout.split()
    assert "ensemble_builder.start" in found
    assert not {"pydantic", "numpy", "argparse", "ensemble_builder.cli"} & set(found)


def test_the_signal_ends_the_process() -> None:
    heeded = "import os, signal, ensemble_builder.start as start; start.end_at_sigterm()"
    assert run(f"{heeded}; os.kill(os.getpid(), signal.SIGTERM)").returncode == STOPPED
