"""Every `kubectl ensemble` line of the documentation is one that the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from ensemble_cli.main import COMMANDS, root

REPOSITORY = Path(__file__).parents[3]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")),
         *sorted((REPOSITORY / "examples").rglob("README.md"))]  # fmt: skip
LINES = sorted(
    {
        line
        for page in PAGES
        for block in re.findall(
            r"^```(?:sh|console)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        for line in re.findall(r"kubectl ensemble ([^|>#\n]+)", block)
    }
)


def test_there_are_such_lines() -> None:
    assert len(LINES) > 10
    assert {line.split()[0] for line in LINES} <= {*COMMANDS, "--help"}


@pytest.mark.parametrize("line", LINES)
def test_is_understood(line: str) -> None:
    name, *arguments = shlex.split(line)
    if name == "--help":
        return
    command = root.get_command(click.Context(root), name)
    assert command
    # Options are told apart as in earnest; whether files exist is not asked.
    _, _, order = command.make_parser(click.Context(command)).parse_args(arguments)
    assert order or not arguments
