"""The inputs of one rollout: what its ControllerRevision holds and its Deployments are rendered from."""

from __future__ import annotations

from ensemble_operator.names import digest
from ensembles_api.contract import Document, ServerRequirements, TargetRequest
from ensembles_api.spec import Serving, Storage

RENDERER_VERSION = 1
"""Raise this when the rendered Deployment changes: golden files fail otherwise. Old rollouts keep theirs."""

ROLLOUT_HASH_LENGTH = 8

ANNOTATION_OUTCOME = "ensembles.dev/outcome"
"""On the ControllerRevision, whose data cannot change: absent | Promoted | Failed | Superseded | Pruning."""
ANNOTATION_REASON = "ensembles.dev/reason"
ANNOTATION_MESSAGE = "ensembles.dev/message"
ANNOTATION_FAILED_AT = "ensembles.dev/failedAt"
ANNOTATION_FAILED_REQUEST = "ensembles.dev/failedRequest"
"""The ensembles.dev/requestedAt that was there when it failed: only another one asks to try it again."""
ANNOTATION_GIVEN_BACK_AT = "ensembles.dev/givenBackAt"
"""When its servers, which could not start, handed the GPU back to those that they were to replace."""
ANNOTATION_PROMOTED_AT = "ensembles.dev/promotedAt"
ANNOTATION_VERIFIED_AT = "ensembles.dev/verifiedAt"
"""When its servers answered real inferences; absent where it was promoted without any server."""
ANNOTATION_STEP = "ensembles.dev/step"
"""While it gets a share of the requests by steps: which one, 1 for the first; one more than there are for all
its servers. Empty or absent before and after.
"""
ANNOTATION_STEP_SINCE = "ensembles.dev/stepSince"
"""Since when clients have got that step's share; empty until they do."""
ANNOTATION_STEPS = "ensembles.dev/steps"
"""Digest of the steps that it has passed, and of the present one's weight: with others it begins anew."""
ANNOTATION_APPROVED_BEFORE = "ensembles.dev/approvedBefore"
"""The approval that was there when it lost its share of the requests: it says nothing of the next time."""
ANNOTATION_RETIRED_AT = "ensembles.dev/retiredAt"
"""When another rollout took its place; its servers are deleted retainSeconds later."""

ANNOTATION_RETIRED_FOR = "ensembles.dev/retiredFor"
"""The rollout that took its place."""
ANNOTATION_STARTED_BY = "ensembles.dev/startedBy"
"""The field manager that changed the spec last when the rollout began."""
ANNOTATION_CHANGES = "ensembles.dev/changes"
"""What differs from the rollout that served then, in words."""
ANNOTATION_PARTS = "ensembles.dev/parts"
"""Short digests of the parts of its spec, as a JSON object: the next rollout tells its changes by them."""

ANNOTATION_SERVERS_BEFORE = "ensembles.dev/serversBefore"
"""How many servers each target of the active rollout had when this one began: ACTIVE@PROMOTED TARGET=N …"""

ANNOTATION_ALSO_INPUTS = "ensembles.dev/alsoInputs"
"""Further inputs digests, separated by spaces, that were assembled and turned out to give this revision."""
ANNOTATION_WARNINGS = "ensembles.dev/warnings"
"""What the assembler warned of, as a JSON list: status shows it while this revision is the wanted one."""
ANNOTATION_VERIFICATION = "ensembles.dev/verification"
"""How its servers stood the last verification, as a VerificationSummary: the Job goes, this stays."""
ANNOTATION_BUILDS = "ensembles.dev/builds"
"""Which artifacts the revision is made of, as a JSON list: noted for the status, as their Jobs go."""


class RolloutData(Document):
    """Data of a ControllerRevision; immutable in the API server, too."""

    renderer: int = RENDERER_VERSION
    uid: str
    """Of the InferenceEnsemble: one re-created under the same name gets new object names."""
    inputs: str
    """Digest of all that decides the revision; finds the revision again without building."""
    revision: str
    lock: str
    storage: Storage
    server_image: str
    tools_image: str
    """A record of what fetched the files at first: servers made later get the operator's present one."""
    image_pull_policy: str
    serving: Serving
    """As in the spec, but replicas are those at creation: later ones go through the scale subresource."""
    verify_seconds: int
    targets: tuple[TargetRequest, ...]
    server: ServerRequirements
    requested_at: str = ""

    def rollout_hash(self) -> str:
        """Names the rollout.

        Leaves out what must not restart servers: the operator's own images, replicas, and (defaults are not
        written) fields that a later operator knows.
        """
        document = self.model_dump(mode="json", exclude_defaults=True)
        document["renderer"] = self.renderer
        for name in ("inputs", "lock", "tools_image", "image_pull_policy", "verify_seconds", "requested_at"):
            document.pop(name, None)
        document["serving"].pop("replicas", None)
        return digest(document)[:ROLLOUT_HASH_LENGTH]
