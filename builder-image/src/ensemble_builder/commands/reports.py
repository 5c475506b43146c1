"""Reports of verifications in storage, beside the revisions they judge."""

from __future__ import annotations

from ensemble_builder.artifacts import layout
from ensemble_builder.commands.log import step
from ensemble_builder.storage.store import Store
from ensembles_api.verification import VerificationReport


def write_report(store: Store, namespace: str, name: str, report: VerificationReport) -> str:
    """Store a report; one of the same rollout and attempt is replaced.

    Returns:
        Its key below the storage's uri.

    Raises:
        FaultError: as Bucket.
    """
    path = layout.report(namespace, name, report.revision, rollout=report.rollout, attempt=report.attempt)
    with step(f"wrote {path}"):
        store.root.put(store.key(path), report.canonical())
    return path
