"""Whether text may be coloured: click leaves https://no-color.org to its users."""

from __future__ import annotations

import os


def colours() -> bool | None:
    """What click.echo takes as `color`: False with NO_COLOR, None where the terminal decides."""
    return False if os.environ.get("NO_COLOR") else None
