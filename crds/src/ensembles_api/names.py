"""Names fixed by the API: group, labels, annotations, ports. Everything else derives from these."""

from __future__ import annotations

GROUP = "ensembles.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "InferenceEnsemble"
PLURAL = "inferenceensembles"
SINGULAR = "inferenceensemble"
SHORT_NAME = "ie"

LABEL_ENSEMBLE = f"{GROUP}/ensemble"
LABEL_ROLLOUT = f"{GROUP}/rollout"
LABEL_TARGET = f"{GROUP}/target"
LABEL_ROLE = f"{GROUP}/role"
LABEL_KEY = f"{GROUP}/key"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "ensemble-operator"

ANNOTATION_REQUESTED_AT = f"{GROUP}/requestedAt"
ANNOTATION_PROMOTE = f"{GROUP}/promote"
"""What somebody approves of a canary: its rollout's hash alone (every step), HASH/STEP (the steps up to this
one, 1 for the first) or HASH/full (all the requests at once); and @WHEN, any text that tells it from an
earlier one.
"""
ANNOTATION_ABANDON_STORAGE = f"{GROUP}/abandon-storage"
ANNOTATION_CHANGE_CAUSE = "kubernetes.io/change-cause"
"""Why somebody changed the spec, in their words; kubectl's convention."""
FINALIZER = f"{GROUP}/storage"

HTTP_PORT = 8000
GRPC_PORT = 8001
METRICS_PORT = 8002

SECRET_ACCESS_KEY_ID = "AWS_ACCESS_KEY_ID"  # noqa: S105 - the key's name, not its value
SECRET_SECRET_ACCESS_KEY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105
SECRET_SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105
