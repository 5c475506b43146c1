"""kubectl's own protocol for the completion of plugins."""

from __future__ import annotations

import sys

import click
from click.shell_completion import ShellComplete

from ensemble_cli.main import root
from ensemble_cli.program import COMPLETE_VARIABLE, PROGRAM

_NO_FILES, _DEFAULT = 4, 0
"""Directives of cobra's completion protocol (spf13/cobra, ShellCompDirective)."""


def run() -> None:
    """Console script kubectl_complete-ensemble: candidates, one a line, then the directive."""
    *arguments, incomplete = sys.argv[1:] or [""]
    items = ShellComplete(root, {}, PROGRAM, COMPLETE_VARIABLE).get_completions(arguments, incomplete)
    plain = [item for item in items if item.type == "plain"]
    for item in plain:
        click.echo(f"{item.value}\t{item.help}" if item.help else item.value)
    click.echo(f":{_NO_FILES if plain else _DEFAULT}")
