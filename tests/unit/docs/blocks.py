"""The commands of the documentation: every ```sh block, and whether a test runs it.

A comment above a block, which no reader sees, says so:

    <!-- run offline -->          by the unit tests: the page's blocks in turn, in one folder
    <!-- run on a cluster -->     by the end-to-end tests, likewise
    <!-- not run: REASON -->
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *sorted((REPOSITORY / "examples").rglob("README.md")),
]
OFFLINE, CLUSTER = "run offline", "run on a cluster"
_BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
KUBECTL = """\
#!/bin/sh
# What kubectl does with a plugin's name, where the machine has no kubectl.
test "$1" = ensemble || { echo "an offline command asks for a cluster: kubectl $*" >&2; exit 1; }
shift
exec kubectl-ensemble "$@"
"""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    mark: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The ```sh blocks of a page, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("text")) + 1, found["mark"] or "", found["text"])
        for found in _BLOCK.finditer(text)
    ]


def pages_with(mark: str) -> list[Path]:
    return [page for page in PAGES if any(block.mark == mark for block in blocks(page))]


def script(page: Path, mark: str) -> str:
    """The page's blocks of one mark as one script that ends at the first command that fails."""
    parts = [f"echo '# {block.place}'\n{block.text}" for block in blocks(page) if block.mark == mark]
    return "set -euo pipefail\n" + "\n".join(parts)


def checkout(folder: Path) -> Path:
    """A folder that looks like the checkout, in which commands may write."""
    for name in ("examples", "charts", "docs"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


def run_script(text: str, *, folder: Path, programs: Path, seconds: float, **environment: str) -> str:
    """Run a page's commands; what they printed.

    Args:
        text: of `script`.
        folder: of `checkout`.
        programs: a folder that comes first on PATH.
        seconds: how long it may take.

    Raises:
        AssertionError: a command failed.
    """
    paths = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=folder,
        env={**os.environ, **environment, "PATH": paths, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout
