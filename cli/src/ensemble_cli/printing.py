"""Answers for people, and the same as data for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import click
from rich.console import Console

from ensemble_cli.documents import write_yaml

Format = Literal["text", "json", "yaml"]
F = TypeVar("F", bound=Callable[..., Any])
FILE_WIDTH = 200
"""Columns where the output is no terminal: nothing is wrapped that a program may read."""


def output_option(function: F) -> F:
    """The option -o of everything that lists."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json", "yaml"]),
        default="text",
        help="json and yaml have every detail, and stay as they are from release to release.",
    )(function)


def print_data(data: Any, form: Format) -> None:
    """Write a JSON value as -o asks for."""
    if form == "json":
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        click.echo(write_yaml(data), nl=False)


def console() -> Console:
    """For trees and tables: as wide as the terminal, plain text in files, no colours with NO_COLOR."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
