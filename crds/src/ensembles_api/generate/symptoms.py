"""What each reason looks like in a status, and what usually is behind it (source of docs/reasons.md)."""
# ruff: noqa: E501 - messages stand as they are shown

from __future__ import annotations

from dataclasses import dataclass

from ensembles_api.reasons import REASONS, Condition, Nature, Reason


@dataclass(frozen=True)
class Symptom:
    """How a reason shows itself.

    says: a condition's message. because: usual causes. quotes: most of its words are those of others (Kubernetes, S3).
    """

    says: str
    because: str = ""
    quotes: bool = False


R = Reason
SYMPTOMS: dict[Reason, Symptom] = {
    R.GPU_AMBIGUOUS: Symptom(
        "spec.serving.targets[0].gpu.product: an engine fits one GPU type, and the cluster has NVIDIA-A10, NVIDIA-L4: name one as the product, or make a target for each",
        "The spec names no GPU, and nodes with different values of the label nvidia.com/gpu.product offer it.",
    ),
    R.INVALID_SPEC: Symptom(
        "spec.entrypoint: there is no model clasifier: choose classifier; did you mean classifier?",
        "A value that only shows to be wrong beside others or beside the files. What can be told from the YAML alone, `kubectl ensemble validate` and the API server refuse earlier.",
    ),
    R.INVALID_MODEL: Symptom(
        "spec.models[0].onnxruntime.source: net.onnx is not an ONNX file: it is an HTML page, probably a download or login page; fetch the file itself and upload it",
        "An interrupted upload, a Git LFS pointer or web page in place of the file, weights that are missing beside it, a fixed batch axis, a precision the graph does not have.",
    ),
    R.INVALID_PIPELINE: Symptom(
        'spec.models[0].dali.source: line 6 `jpegs, labels = fn.readers.file(file_root="/data")`: no input: replace the reader by fn.external_source(name="…")',
        "The file raises an error, defines no function with @pipeline_def or several, reads from files where it should have fn.external_source, or calls Python operators, which cannot be serialised; or a sample of its verification is not answered as its config says, or with NaN.",
    ),
    R.INVALID_CONFIG: Symptom(
        "spec.models[0].maxBatchSize: is 64, but the model was built for batches of at most 32: set that or less",
        "A field that Triton's ModelConfig does not have, or a name, type, shape or batch size that contradicts the model.",
    ),
    R.INVALID_WIRING: Symptom(
        "spec.models[2].ensemble.steps[1].inputs[0]: steps[1] (classifier): classifier has no input inptu; its inputs are input FP32[3,224,224]; did you mean input?",
        "Tensor names, types or shapes of two steps that do not fit; a tensor nobody writes, or two write; a batch size above that of a step.",
    ),
    R.DIGEST_MISMATCH: Symptom(
        "spec.models[0].onnxruntime.source.sha256: the source has sha256 9f2f…: restore the file, or state this digest",
        "The file was uploaded again after its sha256 had been written into the spec, or after it had been pinned.",
    ),
    R.UNKNOWN_RELEASE: Symptom(
        "spec.runtime.release: '1.2' is not in the operator's release table (known: 26.04, 26.05); choose one of these, or set serverImage and builderImage",
        "A typing error, or an operator older than the release.",
    ),
    R.RELEASE_MISMATCH: Symptom(
        "spec.runtime: the builder image has DALI 2.0.0, the server has 2.1.0: a pipeline fits only the DALI it was made with; use the builder image of the server's release",
        "serverImage and builderImage were set by hand, or one of them was rebuilt under its old tag.",
    ),
    R.OBJECT_NOT_OWNED: Symptom(
        "metadata.name: Service efficientnet exists and is not this ensemble's; rename one of them or remove it",
        "The namespace holds a Service (or another object) of the ensemble's name that somebody else made.",
    ),
    R.INVALID_POD_SETTINGS: Symptom(
        'spec.serving: the API server refuses the Deployment: spec.template.spec.containers[0].resources.requests: Invalid value: "4": must be less than or equal to cpu limit of 2',
        "Requests above limits, a PriorityClass or service account that does not exist, a toleration that is none, a LimitRange of the namespace, an admission policy of the cluster.",
    ),
    R.OUT_OF_MEMORY: Symptom(
        "spec.build.resources.limits.memory: container compile of Job build-trt-… needed more memory than its limit; raise resources.limits.memory",
        "Building an engine needs a multiple of the model's size. The first time is forgiven and tried again, since a neighbour may have been the cause.",
    ),
    R.COMPILE_FAILED: Symptom(
        "spec.models[1].tensorrt: TensorRT could not build the engine: [convolution.cpp::…] Error Code 2: Internal Error",
        "TensorRT has no kernel for a layer, the compiler crashed, or pip cannot install the packages listed. The log of the build Job tells: `kubectl ensemble logs NAME --model MODEL`.",
    ),
    R.EXPORT_FAILED: Symptom(
        "spec.models[0].onnxruntime.export: the container ended with exit code 1: the weights do not fit",
        "The user's own container failed, or wrote no ONNX file to $EXPORT_OUTPUT.",
    ),
    R.ACCURACY_OUT_OF_TOLERANCE: Symptom(
        "spec.models[1].tensorrt.verification: the engine differs from its reference, 'boxes': relative L2 0.31 (limit 0.02) at batch 64: choose a higher precision, keep the layers that overflow in FP32 (keepFp32), give typical inputs (verification.samples), or raise the tolerance",
        "Half precision overflows in some layer; or random inputs are nothing like the model's real ones.",
    ),
    R.BUILD_TIMED_OUT: Symptom(
        "spec.build.timeoutSeconds: Job build-trt-… ran longer than allowed; raise it",
        "A high builder.optimizationLevel, many profiles, a slow GPU, a cold timing cache.",
    ),
    R.GPU_MISMATCH: Symptom(
        "spec.serving.targets: the build Job ran on NVIDIA-A10, the target names NVIDIA-L4: an engine fits only the GPU it was built on; correct the product, or the node's label nvidia.com/gpu.product",
        "A node label that is out of date or was set by hand; a node whose driver or container runtime gives pods no GPU.",
    ),
    R.GPU_OUT_OF_MEMORY: Symptom(
        "spec.models[1].tensorrt.profiles: the GPU's memory does not suffice to build: lower the largest shapes or maxBatchSize, set builder.workspace, or build on a GPU that nobody else uses. …",
        "Time-slicing or MPS lets several pods use one GPU, and none of them knows of the others' memory; or the largest shapes are larger than needed.",
    ),
    R.LOAD_FAILED: Symptom(
        "tritonserver in pod net-140ab5a8-default-… ended with exit code 1: failed to load 'post' version 1: Internal: ModuleNotFoundError: No module named 'cv2'",
        "A Python model whose packages are not there, a backend that the image does not have, too little memory, an option in extraArgs that this Triton does not know.",
    ),
    R.VERIFICATION_FAILED: Symptom(
        "case 'espresso': model 'efficientnet' on 10.244.0.31:8001: output 'probabilities': row 0: 'espresso' (class 967) comes 3rd with 0.021, and top 1 is expected; the first is class 504 with 0.83",
        "Weights that are broken, a pipeline that answers with another shape than its config says, a Python model that raises an error for some batch size, a case of spec.verification that does not hold.",
    ),
    R.ANALYSIS_FAILED: Symptom(
        "spec.rollout.analysis.maxErrorPercent: 4.2 points more than the old servers' fail, 1 are allowed (new servers: 21 of 500 requests failed (4.2 %), 8.3 ms on average; old servers: 0 of 4500 requests failed (0.0 %), 8.1 ms on average)",
        "A model that fails for inputs which the verification does not have; servers that lack CPU or share a GPU; bounds that are narrower than what traffic does by itself.",
    ),
    R.REVISION_UNKNOWN: Symptom(
        "spec.rollout.pinRevision: revision 0d2c1f7a9b3e is not in the history; choose one of 45bf1ab3ede276cd…, 2ee386aad35165b1…",
        "A digest of another ensemble, one that revisionHistoryLimit has pushed out, or a slip; `kubectl ensemble rollback NAME` chooses from what is there.",
    ),
    R.FAILED_AFTER_PROMOTION: Symptom(
        "revision 45bf1ab3ede2 failed 95 s after its promotion: tritonserver in pod net-140ab5a8-default-… ended with exit code 1: …; correct the spec, or annotate ensembles.dev/requestedAt to try the same again; revision 0d2c1f7a9b3e serves again",
        "Servers that crash, lose readiness or run out of memory only under the load of real clients.",
    ),
    R.TOO_MANY_ROUNDS: Symptom(
        "still not complete after 8 rounds of building",
        "A fault of the operator: each round of builds asked for another one.",
    ),
    R.NOT_SUPPORTED: Symptom(
        "this builder image cannot compile DALI pipelines: No module named 'nvidia'; use the builder image of a release, or install the DALI of the server image",
        "A builder image without DALI, TensorRT or ONNX Runtime, or a TensorRT that lacks an option the spec sets.",
    ),
    R.GPU_UNKNOWN: Symptom(
        "spec.serving.targets[0].gpu.product: an engine fits one GPU type, and the operator may not read nodes: name the product (the value of that node label)",
        "The operator is installed for single namespaces without nodeReader; or NVIDIA's GPU feature discovery, which labels the nodes, is not there.",
    ),
    R.KEDA_MISSING: Symptom(
        "spec.autoscaling.keda: the cluster has no ScaledObject (keda.sh/v1alpha1) that the operator may see: install KEDA, or remove spec.autoscaling.keda; the servers stay as many as they are",
        "KEDA is installed later than the resource, or not at all.",
    ),
    R.SOURCE_MISSING: Symptom(
        "spec.models[0].onnxruntime.source.uri: s3://models/src/gone.onnx does not exist at http://minio.storage.svc:9000: upload it, or correct the uri",
        "The upload comes later than the resource, or the uri has a slip.",
    ),
    R.BUCKET_MISSING: Symptom(
        "spec.storage.uri: reading s3://no-such-bucket/x at http://minio.storage.svc:9000: bucket 'no-such-bucket' does not exist",
        "The bucket is made by somebody else, later; or the endpoint is that of another storage.",
    ),
    R.ACCESS_DENIED: Symptom(
        "spec.storage.secretName: reading s3://models/src/net.onnx at http://minio.storage.svc:9000: refused (SignatureDoesNotMatch): check the keys and the bucket's policy",
        "Old or exchanged keys; a policy without s3:GetObject, s3:PutObject, s3:DeleteObject or s3:ListBucket on the prefix.",
    ),
    R.SECRET_MISSING: Symptom(
        'spec.storage.secretName: secret "model-storage" not found; create it',
        "The Secret is in another namespace, or lacks AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY.",
        quotes=True,
    ),
    R.CONFIG_MAP_MISSING: Symptom(
        "spec.models[0].dali.source.configMap: ConfigMap 'pipes' does not exist in 'demo'; create it",
        "The ConfigMap is applied later, has another key, or a name with a hash that kustomize gave it (docs/gitops.md).",
    ),
    R.GATEWAY_API_MISSING: Symptom(
        "spec.gateway: the cluster does not serve HTTPRoute of gateway.networking.k8s.io/v1",
        "The CRDs of the Gateway API are not installed, are too old, or the operator was installed without its rights on them.",
    ),
    R.ROUTE_NOT_ACCEPTED: Symptom(
        "spec.gateway.parentRefs: no Gateway has accepted the HTTPRoute as it is now (attached to: public)",
        "A Gateway of that name is not there or has no listener for the hostname, its listener takes no routes of this namespace, or no controller runs for its class.",
    ),
    R.QUEUE_MISSING: Symptom(
        "spec.build.queueName: Job build-tensorrt-…-1 waits for Kueue's LocalQueue 'gpus', which this namespace does not have: create it, or name another",
        "A slip in the name, a LocalQueue of another namespace, or the name of the ClusterQueue in its place.",
    ),
    R.CLAIM_TEMPLATE_MISSING: Symptom(
        'spec.serving.targets[0].gpu.resourceClaimTemplateName: pod net-140ab5a8-l4-…: PodResourceClaim gpu: resource claim template "one-gpu": resourceclaimtemplate.resource.k8s.io "one-gpu" not found; create it in this namespace, or name another',
        "A slip in the name, or a template of another namespace: a pod takes one of its own namespace only.",
        quotes=True,
    ),
    R.STORAGE_UNAVAILABLE: Symptom(
        "spec.storage.endpoint: reading s3://models/src/net.onnx at http://minio.storage.svc:9000: Could not connect to the endpoint URL (attempt 3, next at 04:40:31Z)",
        "The storage restarts, a NetworkPolicy or proxy is in between, the endpoint is wrong, its certificate is not trusted (spec.storage.caConfigMap).",
        quotes=True,
    ),
    R.STORAGE_CORRUPT: Symptom(
        "spec.storage.uri: s3://models/store/blobs/7b87… has sha256 0c1d… instead of 7b87… (attempt 2, next at 04:40:21Z)",
        "Somebody wrote over an object of the store, or the storage lost bytes.",
    ),
    R.ARTIFACT_VANISHED: Symptom(
        "spec.models[0].dali: artifact dali/97be… of model 'preprocess' was built and is gone: look for lifecycle rules on the bucket (attempt 1, next at 04:40:16Z)",
        "A lifecycle rule, or somebody who cleans up, deletes below spec.storage.uri.",
    ),
    R.LOCK_VANISHED: Symptom(
        "spec.storage.uri: s3://models/store/locks/33bb….json is gone: look for lifecycle rules on the bucket (attempt 1, next at 04:40:16Z)",
        "As ArtifactVanished.",
    ),
    R.SOURCE_CHANGING: Symptom(
        "spec.models[0].onnxruntime.source.uri: s3://models/src/net.onnx was replaced while it was being read (attempt 1, next at 04:40:16Z)",
        "An upload was under way.",
    ),
    R.JOB_FAILED: Symptom(
        "container upload of Job build-dali-… ended with exit code 137: killed (attempt 1, next at 04:40:16Z)",
        "A node without memory, a LimitRange in the namespace, a fault of ours: the log of the Job tells.",
    ),
    R.POD_LOST: Symptom(
        "the pod of Job efficientnet-asm-… is gone (no reason) (attempt 1, next at 04:40:16Z)",
        "A drained or lost node, preemption, somebody who deleted the pod.",
    ),
    R.API_UNAVAILABLE: Symptom(
        "the server is currently unable to handle the request (attempt 2, next at 04:40:21Z)",
        "The API server restarts or is overloaded; or the operator's role was narrowed (403).",
        quotes=True,
    ),
    R.SERVERS_NOT_READY: Symptom(
        "1 of 2 servers of 10.96.14.2 are ready: see the servers' logs (attempt 1, next at 04:40:16Z)",
        "Models that take longer to load than spec.rollout.verifySeconds allows, nodes that start pods slowly.",
    ),
    R.QUOTA_EXCEEDED: Symptom(
        'Error creating: pods "efficientnet-asm-v6qng" is forbidden: exceeded quota: team, requested: pods=1, used: pods=4, limited: pods=4 (since 2026-03-02T04:39:33Z)',
        "A ResourceQuota of the namespace.",
        quotes=True,
    ),
    R.WAITING_IN_QUEUE: Symptom(
        "Job build-tensorrt-…-1 waits in queue gpus: couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor l4, 1 more needed (since 2026-03-02T04:39:33Z)",
        "The quota of the queue is taken by other Jobs, of whatever kind, or Kueue took the build off its node for one of higher priority (`was stopped by Kueue (Preempted)`): `kubectl get workloads -n NAMESPACE`.",
        quotes=True,
    ),
    R.WAITING_FOR_GPU: Symptom(
        "pod build-trt-…: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.; this ensemble's own server net-140ab5a8-l4-… holds one: add a GPU, or set spec.build.whenGPUBusy to StopServing to end it until the new ones serve (since 2026-03-02T04:39:33Z)",
        "All GPUs of the type are taken, by others or by this ensemble's own servers ([GPUs](gpus.md)).",
    ),
    R.GPU_EXHAUSTED: Symptom(
        "pod net-7c01e3aa-l4-…: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.; this ensemble's own server net-140ab5a8-l4-… holds one: add a GPU, or set spec.rollout.strategy to Recreate (an outage), or to RollingUpdate with maxSurge 0 and maxUnavailable 1 (one server less meanwhile) (since 2026-03-02T04:39:33Z)",
        "BlueGreen, Canary and RollingUpdate with a surge start new servers beside the old ones; here there are only as many GPUs as old servers ([GPUs](gpus.md)).",
    ),
    R.UNSCHEDULABLE: Symptom(
        "pod net-140ab5a8-default-…: 0/3 nodes are available: 3 Insufficient memory. (since 2026-03-02T04:39:33Z)",
        "Requests that no node can meet, selectors without a node, taints without a toleration.",
        quotes=True,
    ),
    R.IMAGE_UNAVAILABLE: Symptom(
        'pod net-140ab5a8-default-…: Back-off pulling image "registry.example/tritonserver:26.05" (since 2026-03-02T04:39:33Z)',
        "A slip in the name, a registry that asks for credentials (spec.serving.imagePullSecrets), no way to the registry.",
        quotes=True,
    ),
    R.ANALYSIS_INCONCLUSIVE: Symptom(
        "spec.rollout.analysis.minRequests: 12 requests reached the new servers, 50 are needed (since 2026-03-02T04:39:33Z)",
        "Little traffic, a small weight, a short step.",
    ),
    R.READY: Symptom("revision 45bf1ab3ede2 serves"),
    R.ASSEMBLING: Symptom("sources are being pinned and checked"),
    R.BUILDING: Symptom("1 of 2 artifacts are built; building classifier"),
    R.PUBLISHED: Symptom("the revision is complete in storage"),
    R.ROLLING_OUT: Symptom("new servers fetch and load the revision"),
    R.VERIFYING: Symptom("the servers are asked for real inferences"),
    R.PROMOTING: Symptom("older servers end before the switch"),
    R.PAUSED: Symptom("spec.rollout.paused is true", "It was set; the spec has changed since."),
    R.STEPPING: Symptom(
        "step 2 of 2, 50 %: waits for approval, kubectl ensemble promote net",
        "A canary is at one of its steps, or a rolling update exchanges servers; `status.progress` says how far it is.",
    ),
    R.TAKING_BACK: Symptom(
        "the requests go back to the former servers, once these are back",
        "The new servers failed while they shared the requests, or the spec has changed meanwhile.",
    ),
    R.SUSPENDED: Symptom("spec.suspend is true"),
    R.DELETING: Symptom("its servers end, then its revisions are removed from storage"),
    R.PENDING: Symptom("not yet"),
    R.AVAILABLE: Symptom("the Service has a ready server"),
    R.UNAVAILABLE: Symptom(
        "the Service has no ready server",
        "Nothing was rolled out yet, or the servers are down: `kubectl get pods -l ensembles.dev/ensemble=NAME,ensembles.dev/role=server`.",
    ),
}  # fmt: skip
"""One row for each Reason (a test holds that)."""

_OWN_CONDITIONS = {
    R.READY: (Condition.READY, True),
    R.SUSPENDED: (Condition.READY, False),
    R.PAUSED: (Condition.READY, False),
    R.PENDING: (Condition.PUBLISHED, False),
    R.AVAILABLE: (Condition.AVAILABLE, True),
    R.UNAVAILABLE: (Condition.AVAILABLE, False),
}
"""Reasons that say neither that work goes on nor that it has come to a stop."""


def shown_in(reason: Reason) -> tuple[Condition, bool]:
    """The condition that shows a reason best, and whether it is True."""
    if reason in _OWN_CONDITIONS:
        return _OWN_CONDITIONS[reason]
    stalls = REASONS[reason].nature in {Nature.USER, Nature.GRACE}
    return (Condition.STALLED if stalls else Condition.RECONCILING), True
