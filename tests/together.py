"""Which tests stay together where several processes run them: those that share what starts slowly."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

CONTROL_PLANES = frozenset({"tests/crd", "tests/operator", "tests/scheduling"})
"""Folders with one control plane for all their tests."""
UNITS = "tests/unit/"
SLOW_FIXTURES = frozenset(
    {
        "tests/unit/compilers/test_plugins.py",
        "tests/unit/examples/test_tutorials.py",
        "tests/unit/resources/test_apiserver.py",
    }
)
"""Unit tests that share something, too; all others go wherever there is time."""


class Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out folders and files as a whole, the largest first, then unit tests one by one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = "/".join(file.split("/")[:2])
        if folder in CONTROL_PLANES:
            return folder
        return nodeid if file.startswith(UNITS) and file not in SLOW_FIXTURES else file
