"""CPU architectures, by the names of the node label kubernetes.io/arch; the usual one is not written down."""

from __future__ import annotations

from collections.abc import Mapping

ARCHITECTURE_LABEL = "kubernetes.io/arch"
USUAL = "amd64"
_NAMES = {"x86_64": USUAL, "aarch64": "arm64"}


def architecture_of(machine: str) -> str:
    """Of a machine, as platform.machine() calls it; empty for the usual one, so that no document changes."""
    return _written(_NAMES.get(machine.lower(), machine.lower()))


def stated_architecture(node_selector: Mapping[str, str]) -> str:
    """Of the nodes that a selector allows; empty for the usual one, and where none is stated."""
    return _written(node_selector.get(ARCHITECTURE_LABEL, ""))


def _written(name: str) -> str:
    return "" if name == USUAL else name
