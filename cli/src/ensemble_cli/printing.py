"""Answers for people, and the same as data for programs."""

from __future__ import annotations

import json
import math
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
    """Write a JSON value as -o asks for; NaN and infinities, which JSON lacks, as strings."""
    data = _finite(data)
    if form == "json":
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        click.echo(write_yaml(data), nl=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def console() -> Console:
    """For trees and tables: as wide as the terminal, plain text in files, no colours with NO_COLOR."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
