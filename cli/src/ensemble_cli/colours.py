"""Whether text may be coloured: click leaves https://no-color.org to its users."""

from __future__ import annotations

import os


def colours() -> bool | None:
    """What click.echo takes as `color`: False with NO_COLOR or on a dumb terminal; None: as it sees fit."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return False if plain else None
