"""Options of the commands that build."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class BuildOptions:
    name: str
    target: str
    sources: tuple[str, ...]
    server_image: str
    builder_image: str


def build_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `function` an argument `options`."""

    @click.option("--name", default="", help="Which ensemble, where the files hold several.")
    @click.option("--target", default="", help="Which of spec.serving.targets this machine is; the first.")
    @click.option(
        "--source",
        "sources",
        multiple=True,
        metavar="S3-URI=FOLDER",
        help="Take what lies below the URI from a folder (or file) of this machine. May be repeated.",
    )
    @click.option("--server-image", default="", help="Image of tritonserver, where the spec names none.")
    @click.option("--builder-image", default="", help="Image to compile in, where the spec names none.")
    @functools.wraps(function)
    def with_options(
        name: str,
        target: str,
        sources: tuple[str, ...],
        server_image: str,
        builder_image: str,
        **others: Any,
    ) -> Any:
        return function(options=BuildOptions(name, target, sources, server_image, builder_image), **others)

    return with_options
