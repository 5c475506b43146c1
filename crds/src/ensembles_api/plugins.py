"""How tritonserver is told of plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_OPTIONS = {"tensorrt": ("plugins", ";"), "dali": ("plugin_libs", ":")}
"""Backend -> its option for plugins, and what separates their paths there."""


def plugin_arguments(plugins: Mapping[str, Sequence[str]], *, folder: str) -> list[str]:
    """Options that make backends load their plugins.

    Args:
        plugins: backend -> paths below the target's folder (`ServerRequirements.plugins`).
        folder: where that folder lies for the server, without a slash at its end.
    """
    return [
        f"--backend-config={backend},{name}={separator.join(f'{folder}/{path}' for path in plugins[backend])}"
        for backend, (name, separator) in _OPTIONS.items()
        if backend in plugins
    ]
