"""Options of the commands that send requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_OPTIONS = (
    click.option("--model", default="", help="Another model than the ensemble's entrypoint."),
    click.option(
        "--image", "images", multiple=True, metavar="[TENSOR=]FILE", help="Send a file's bytes as they are."
    ),
    click.option("--input", "files", multiple=True, metavar="TENSOR=FILE.npy", help="Send an array."),
    click.option("--random", is_flag=True, help="Fill the inputs that are not given with noise."),
)


def request_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `function` the arguments `model`, `images`, `files` and `random`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
