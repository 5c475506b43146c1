"""Whether somebody else keeps an ensemble as files say: what is changed by hand is drift then."""

from __future__ import annotations

from ensemble_cli.cluster.applying import LAST_APPLIED, applier
from ensemble_cli.cluster.reading import Found

TOOLS = ("argocd", "flux", "kustomize-controller", "helm")
"""Beginnings of the field managers of tools that put a resource back."""


def drift_note(found: Found, line: str) -> str:
    """What to put into the files that this resource is applied from; empty where none is known of."""
    manager = applier(found.document)
    if manager.lower().startswith(TOOLS):
        return f"{manager} applies {found.name}, and may take this back: put into its files {line}\n"
    if manager or LAST_APPLIED in found.document["metadata"].get("annotations", {}):
        return f"{found.name} is applied from a file, which does not say so yet: {line}\n"
    return ""
