"""Every condition type and reason the product reports, with meaning and cure (source of docs/reasons.md)."""
# ruff: noqa: E501 - one row for each reason reads better than wrapped ones

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Condition(str, Enum):
    READY = "Ready"
    AVAILABLE = "Available"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    ASSEMBLED = "Assembled"
    BUILT = "Built"
    PUBLISHED = "Published"
    VERIFIED = "Verified"


class Nature(str, Enum):
    """What a reason asks of the operator."""

    PROGRESS = "progress"
    """Going on by itself."""
    USER = "user"
    """Stalled until the resource, or what it refers to, changes."""
    GRACE = "grace"
    """Reconciling for a while (GitOps applies in any order), then Stalled; retried all the same."""
    WORLD = "world"
    """Retried with backoff for ever."""
    WAITING = "waiting"
    """Not a failure: something scarce is not free yet."""


class Reason(str, Enum):
    # progress
    READY = "Ready"
    ASSEMBLING = "Assembling"
    BUILDING = "Building"
    PUBLISHED = "Published"
    ROLLING_OUT = "RollingOut"
    VERIFYING = "Verifying"
    PROMOTING = "Promoting"
    SUSPENDED = "Suspended"
    PAUSED = "Paused"
    STEPPING = "Stepping"
    TAKING_BACK = "TakingBack"
    DELETING = "Deleting"
    PENDING = "Pending"
    AVAILABLE = "EndpointsReady"
    UNAVAILABLE = "NoReadyEndpoints"
    # the user's
    GPU_AMBIGUOUS = "GPUAmbiguous"
    INVALID_SPEC = "InvalidSpec"
    INVALID_MODEL = "InvalidModel"
    INVALID_PIPELINE = "InvalidPipeline"
    INVALID_CONFIG = "InvalidConfig"
    INVALID_WIRING = "InvalidWiring"
    DIGEST_MISMATCH = "DigestMismatch"
    UNKNOWN_RELEASE = "UnknownRelease"
    RELEASE_MISMATCH = "ReleaseMismatch"
    OBJECT_NOT_OWNED = "ObjectNotOwned"
    INVALID_POD_SETTINGS = "InvalidPodSettings"
    OUT_OF_MEMORY = "OutOfMemory"
    COMPILE_FAILED = "CompileFailed"
    EXPORT_FAILED = "ExportFailed"
    ACCURACY_OUT_OF_TOLERANCE = "AccuracyOutOfTolerance"
    BUILD_TIMED_OUT = "BuildTimedOut"
    GPU_OUT_OF_MEMORY = "GPUOutOfMemory"
    LOAD_FAILED = "LoadFailed"
    VERIFICATION_FAILED = "VerificationFailed"
    REVISION_UNKNOWN = "RevisionUnknown"
    FAILED_AFTER_PROMOTION = "FailedAfterPromotion"
    ANALYSIS_FAILED = "AnalysisFailed"
    TOO_MANY_ROUNDS = "TooManyRounds"
    NOT_SUPPORTED = "NotSupported"
    # grace, then the user's
    GPU_UNKNOWN = "GPUUnknown"
    GPU_MISMATCH = "GPUMismatch"
    KEDA_MISSING = "KEDAMissing"
    SOURCE_MISSING = "SourceMissing"
    BUCKET_MISSING = "BucketMissing"
    ACCESS_DENIED = "AccessDenied"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason, not a secret
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    GATEWAY_API_MISSING = "GatewayAPIMissing"
    ROUTE_NOT_ACCEPTED = "RouteNotAccepted"
    QUEUE_MISSING = "QueueMissing"
    CLAIM_TEMPLATE_MISSING = "ClaimTemplateMissing"
    # the world's
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    STORAGE_CORRUPT = "StorageCorrupt"
    ARTIFACT_VANISHED = "ArtifactVanished"
    LOCK_VANISHED = "LockVanished"
    SOURCE_CHANGING = "SourceChanging"
    JOB_FAILED = "JobFailed"
    POD_LOST = "PodLost"
    API_UNAVAILABLE = "ApiUnavailable"
    SERVERS_NOT_READY = "ServersNotReady"
    # waiting
    QUOTA_EXCEEDED = "QuotaExceeded"
    WAITING_IN_QUEUE = "WaitingInQueue"
    WAITING_FOR_GPU = "WaitingForGPU"
    GPU_EXHAUSTED = "GPUExhausted"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    ANALYSIS_INCONCLUSIVE = "AnalysisInconclusive"


@dataclass(frozen=True)
class ReasonInfo:
    reason: Reason
    nature: Nature
    meaning: str
    cure: str


_P, _U, _G, _W, _Q = Nature.PROGRESS, Nature.USER, Nature.GRACE, Nature.WORLD, Nature.WAITING
REASONS: dict[Reason, ReasonInfo] = {
    info.reason: info
    for info in (
        ReasonInfo(Reason.READY, _P, "This generation is published, verified and serving.", ""),
        ReasonInfo(Reason.ASSEMBLING, _P, "Sources are pinned and checked.", ""),
        ReasonInfo(Reason.BUILDING, _P, "Artifacts are built.", ""),
        ReasonInfo(Reason.PUBLISHED, _P, "The revision is complete in storage.", ""),
        ReasonInfo(Reason.ROLLING_OUT, _P, "New servers fetch and load the revision.", ""),
        ReasonInfo(Reason.VERIFYING, _P, "The new servers are asked for real inferences.", ""),
        ReasonInfo(Reason.PROMOTING, _P, "The Service moves to the new servers.", ""),
        ReasonInfo(Reason.SUSPENDED, _P, "spec.suspend is true: nothing is changed.", "Set spec.suspend to false."),
        ReasonInfo(Reason.PAUSED, _P, "spec.rollout.paused is true: no rollout begins or goes on; what serves is kept alive.", "Set spec.rollout.paused to false."),
        ReasonInfo(Reason.STEPPING, _P, "New and old servers share the requests, step by step.", "Where the message says that a step waits for approval: `kubectl ensemble promote NAME`."),
        ReasonInfo(Reason.TAKING_BACK, _P, "The requests go back to the servers from before, because the new ones failed or are not wanted any more.", ""),
        ReasonInfo(Reason.DELETING, _P, "The resource is being deleted.", ""),
        ReasonInfo(Reason.PENDING, _P, "The step has not begun.", ""),
        ReasonInfo(Reason.AVAILABLE, _P, "The Service has a ready server.", ""),
        ReasonInfo(Reason.UNAVAILABLE, _P, "The Service has no ready server.", "See the other conditions and the pods."),
        ReasonInfo(Reason.GPU_AMBIGUOUS, _U, "An engine fits one GPU type only, and the cluster has several.", "Name one in spec.serving.targets[].gpu.product, or one target for each."),
        ReasonInfo(Reason.INVALID_SPEC, _U, "A field has a value that cannot work.", "Change the field the message names."),
        ReasonInfo(Reason.INVALID_MODEL, _U, "A model file cannot be used.", "Export the model again, or name the right file."),
        ReasonInfo(Reason.INVALID_PIPELINE, _U, "A DALI pipeline cannot be used.", "Mend the line the message quotes, or the sample it names."),
        ReasonInfo(Reason.INVALID_CONFIG, _U, "A model's config contradicts the model or is unknown to Triton.", "Change spec.models[].config."),
        ReasonInfo(Reason.INVALID_WIRING, _U, "An ensemble's steps do not fit together.", "Change the step and tensor the message names."),
        ReasonInfo(Reason.DIGEST_MISMATCH, _U, "A source's bytes are not the ones its sha256 names.", "Restore the file, or state its new digest."),
        ReasonInfo(Reason.UNKNOWN_RELEASE, _U, "spec.runtime.release is not in the release table.", "Choose a listed release, or give the images."),
        ReasonInfo(Reason.RELEASE_MISMATCH, _U, "The builder image does not fit the server image.", "Use two images of one release."),
        ReasonInfo(Reason.OBJECT_NOT_OWNED, _U, "An object with a name the operator needs belongs to somebody else.", "Rename or remove that object."),
        ReasonInfo(Reason.INVALID_POD_SETTINGS, _U, "The API server refuses the pods that spec.serving or spec.build describe.", "Change the field the message names."),
        ReasonInfo(Reason.OUT_OF_MEMORY, _U, "A build needed more memory than its limit, twice.", "Raise spec.build.resources.limits.memory; for an export, export.resources.limits.memory of its model."),
        ReasonInfo(Reason.COMPILE_FAILED, _U, "The compiler ended without a result.", "Read the build Job's log."),
        ReasonInfo(Reason.EXPORT_FAILED, _U, "The container of an export failed, or left no usable ONNX file.", "Mend its image, command or inputs; the message quotes the end of its log."),
        ReasonInfo(Reason.ACCURACY_OUT_OF_TOLERANCE, _U, "An engine's answers differ too much from its reference's; it was not stored.", "Choose a higher precision, keepFp32, typical verification.samples, or a larger tolerance."),
        ReasonInfo(Reason.BUILD_TIMED_OUT, _U, "A build ran longer than allowed.", "Raise spec.build.timeoutSeconds."),
        ReasonInfo(Reason.GPU_OUT_OF_MEMORY, _U, "The GPU's memory did not suffice to build or run an engine, or to run a pipeline.", "Lower maxBatchSize, the profile's maxima or builder.workspace, or build on a GPU that nobody else uses."),
        ReasonInfo(Reason.LOAD_FAILED, _U, "tritonserver cannot load the revision.", "Read the message and the server's log; the old revision goes on serving."),
        ReasonInfo(Reason.VERIFICATION_FAILED, _U, "The new servers answered wrongly or not at all.", "Read the message; the old revision goes on serving."),
        ReasonInfo(Reason.REVISION_UNKNOWN, _U, "spec.rollout.pinRevision names a revision that the history does not hold, or whose files are being removed.", "Choose one of those that the message lists, or take the pin away; what serves goes on serving."),
        ReasonInfo(Reason.FAILED_AFTER_PROMOTION, _U, "The new servers failed within spec.rollout.watchSeconds after clients were moved to them; the former ones serve again, unless they fail, too.", "Read the message and correct the spec; to try the same again, annotate ensembles.dev/requestedAt."),
        ReasonInfo(Reason.ANALYSIS_FAILED, _U, "Under real traffic the new servers failed more often, or were slower, than spec.rollout.analysis allows.", "Read the figures; the old revision has all the traffic again. Change the spec, or annotate ensembles.dev/requestedAt to try once more."),
        ReasonInfo(Reason.TOO_MANY_ROUNDS, _U, "Building did not come to an end.", "Report this with the assemble Jobs' logs."),
        ReasonInfo(Reason.NOT_SUPPORTED, _U, "The builder image cannot build this.", "Use a builder image that has what the message names."),
        ReasonInfo(Reason.GPU_UNKNOWN, _G, "An engine fits one GPU type only, and none is named or can be found.", "Name it in spec.serving.targets[].gpu.product; or let the operator read nodes (chart value nodeReader)."),
        ReasonInfo(Reason.GPU_MISMATCH, _G, "The GPU that a build found is not the one its target names, or there was none.", "Correct serving.targets[].gpu.product or the node's labels; check the node's driver and runtime class."),
        ReasonInfo(Reason.KEDA_MISSING, _G, "spec.autoscaling.keda is set, and the cluster does not have KEDA.", "Install KEDA, or remove spec.autoscaling.keda: a HorizontalPodAutoscaler scales then."),
        ReasonInfo(Reason.SOURCE_MISSING, _G, "A source object does not exist.", "Upload it, or correct the uri."),
        ReasonInfo(Reason.BUCKET_MISSING, _G, "The bucket does not exist.", "Create it, or correct the uri."),
        ReasonInfo(Reason.ACCESS_DENIED, _G, "Storage refuses the keys.", "Correct the Secret or the bucket's policy."),
        ReasonInfo(Reason.SECRET_MISSING, _G, "A Secret, or a key in it, does not exist.", "Create it in the same namespace."),
        ReasonInfo(Reason.CONFIG_MAP_MISSING, _G, "A ConfigMap, or a key in it, does not exist.", "Create it in the same namespace."),
        ReasonInfo(Reason.GATEWAY_API_MISSING, _G, "spec.gateway is set, but the cluster has no HTTPRoute and GRPCRoute of the Gateway API, or the operator may not use them.", "Install the standard channel of the Gateway API, version 1.1 or later, or remove spec.gateway; the Service serves all the same."),
        ReasonInfo(Reason.ROUTE_NOT_ACCEPTED, _G, "No Gateway leads clients along the ensemble's routes.", "Read the message: it is the gateway's own. Correct spec.gateway or the Gateway's listeners; a listener takes an HTTPRoute or a GRPCRoute for a hostname, see spec.gateway.grpc."),
        ReasonInfo(Reason.QUEUE_MISSING, _G, "The Kueue LocalQueue of a Job does not exist.", "Create it in the same namespace, or name another in spec.build.queueName; the Job begins by itself."),
        ReasonInfo(Reason.CLAIM_TEMPLATE_MISSING, _G, "The ResourceClaimTemplate that gives a pod its GPU does not exist.", "Create it in the same namespace, or correct gpu.resourceClaimTemplateName of the target."),
        ReasonInfo(Reason.STORAGE_UNAVAILABLE, _W, "Storage does not answer.", "Retried; check spec.storage.endpoint and the network."),
        ReasonInfo(Reason.STORAGE_CORRUPT, _W, "Storage returned other bytes than were written.", "Retried; check the storage if it stays."),
        ReasonInfo(Reason.ARTIFACT_VANISHED, _W, "An artifact built a moment ago, or a file of a published revision, is gone.", "Retried; look for lifecycle rules on the bucket. Annotate ensembles.dev/requestedAt to publish a revision again."),
        ReasonInfo(Reason.LOCK_VANISHED, _W, "The document that pins the sources of this build is gone.", "The sources are pinned anew; look for lifecycle rules on the bucket."),
        ReasonInfo(Reason.SOURCE_CHANGING, _W, "A source was replaced while it was being read.", "Retried; let the upload end."),
        ReasonInfo(Reason.JOB_FAILED, _W, "A Job ended without a result.", "Retried; read the Job's log."),
        ReasonInfo(Reason.POD_LOST, _W, "A Job's pod vanished or was evicted.", "Retried."),
        ReasonInfo(Reason.API_UNAVAILABLE, _W, "The Kubernetes API refused or failed.", "Retried."),
        ReasonInfo(Reason.SERVERS_NOT_READY, _W, "The new servers were not ready in time to be verified.", "Retried; see the pods, or raise spec.rollout.verifySeconds."),
        ReasonInfo(Reason.QUOTA_EXCEEDED, _Q, "A ResourceQuota leaves no room for the pod.", "Raise the quota or lower the requests."),
        ReasonInfo(Reason.WAITING_IN_QUEUE, _Q, "Kueue, or whoever suspended it, holds a Job back; it begins by itself, and its time does not run yet.", "Read the message: it is Kueue's own. Make room in the queue, raise its quota, or raise the priority."),
        ReasonInfo(Reason.WAITING_FOR_GPU, _Q, "No matching GPU is free.", "Free one, or add a node."),
        ReasonInfo(Reason.GPU_EXHAUSTED, _Q, "A new server waits for a GPU that only the servers to be replaced hold.", "Add a GPU, or set spec.rollout.strategy to Recreate, or to RollingUpdate with maxSurge 0 and maxUnavailable 1."),
        ReasonInfo(Reason.UNSCHEDULABLE, _Q, "No node fits the pod.", "Add a node, or lower requests and selectors."),
        ReasonInfo(Reason.IMAGE_UNAVAILABLE, _Q, "An image cannot be pulled.", "Check its name, the registry and imagePullSecrets."),
        ReasonInfo(Reason.ANALYSIS_INCONCLUSIVE, _Q, "Too few requests reached the new servers for a verdict; they are measured again.", "Wait for traffic, lengthen analyseSeconds, raise the weight, or lower spec.rollout.analysis.minRequests."),
    )
}  # fmt: skip
"""One row for each Reason (a test holds that)."""
