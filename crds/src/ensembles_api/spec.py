"""InferenceEnsemble `spec`: the single source of the CRD's schema.

Field descriptions become `kubectl explain`; rules become CEL. Tensor names are always values, never keys:
YAML turns the keys y, n and on into booleans.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from ensembles_api.schema import ATOMIC, FREE_FORM, ApiModel, Rule, exactly_one, rules

ModelName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$")]
TensorName = Annotated[str, Field(min_length=1, max_length=256)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.\-]*[a-z0-9])?$")]
S3Uri = Annotated[str, Field(min_length=6, max_length=1024, pattern=r"^s3://[^/\s]+(/.*)?$")]
SourceUri = Annotated[str, Field(min_length=6, max_length=1024, pattern=r"^s3://[^/\s]+/.*$")]
Sha256 = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]
Quantity = Annotated[str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")]
Object = Annotated[dict[str, Any], Field(json_schema_extra=FREE_FORM)]
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.\-]*[A-Za-z0-9])?)?$")]
Labels = Annotated[dict[str, LabelValue], Field(max_length=64)]
Annotations = Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64)]


class ConfigMapKey(ApiModel):
    """A key of a ConfigMap in this namespace."""

    name: ObjectName
    key: str = Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.\-]+$")


class Source(ApiModel):
    """Where bytes come from."""

    inline: str | None = Field(None, max_length=65536, description="The text itself.")
    config_map: ConfigMapKey | None = Field(None, description="A key of a ConfigMap in this namespace.")
    uri: SourceUri | None = Field(
        None, description="s3://bucket/key of a file, or s3://bucket/prefix/ (ending in /) of a folder."
    )
    sha256: Sha256 | None = Field(None, description="Digest the file must have; a folder has none.")
    secret_name: ObjectName | None = Field(
        None, description="Secret with keys for this uri, where spec.storage.secretName does not fit."
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("inline", "configMap", "uri", what="source"),
            Rule(
                "!has(self.secretName) || has(self.uri)",
                "secretName goes with uri only: remove it, or give the source by uri",
            ),
            Rule(
                "!has(self.sha256) || !has(self.uri) || !self.uri.endsWith('/')",
                "sha256: a folder has no digest; remove sha256, or name one file",
            ),
        )
    )


def one_file(field: str) -> Rule:
    """`field` is a Source that must not be a folder."""
    return Rule(
        f"!has(self.{field}.uri) || !self.{field}.uri.endsWith('/')",
        f"{field}.uri: name one file; an uri that ends in / is a folder",
    )


class NamedSource(ApiModel):
    """The value of one input tensor."""

    name: TensorName = Field(description="Input tensor.")
    source: Source
    model_config = ConfigDict(json_schema_extra=rules(one_file("source")))


class Sample(ApiModel):
    """One request's worth of inputs."""

    inputs: list[NamedSource] = Field(min_length=1, max_length=32)


class DaliMode(str, Enum):
    SERIALIZED = "Serialized"
    AUTOSERIALIZE = "Autoserialize"


class Dali(ApiModel):
    """A DALI pipeline, written as a Python file with a `@pipeline_def` function."""

    source: Source
    function: str | None = Field(
        None,
        max_length=128,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="The pipeline function, where the file defines several.",
    )
    args: Object | None = Field(
        None, description="Keyword arguments of the function; `types.X` names a member of nvidia.dali.types."
    )
    mode: DaliMode = Field(
        DaliMode.SERIALIZED,
        description="Serialized publishes model.dali; Autoserialize publishes the file as dali.py.",
    )
    threads: int = Field(4, ge=1, le=256, description="CPU threads per pipeline instance.")
    samples: list[Sample] = Field(
        default_factory=list,
        max_length=16,
        description="Inputs to prove the pipeline with, before it serves.",
    )
    model_config = ConfigDict(json_schema_extra=rules(one_file("source"), **ATOMIC))


class OnnxRuntime(ApiModel):
    """An ONNX model run by ONNX Runtime."""

    source: Source = Field(
        description="The .onnx file, or a folder holding one .onnx file and its external data."
    )
    model_config = ConfigDict(json_schema_extra=ATOMIC)


class Precision(str, Enum):
    TF32 = "tf32"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"


Dims = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=8)]


class ShapeRange(ApiModel):
    """The shapes that one input may have."""

    name: TensorName = Field(description="Input of the ONNX graph.")
    min: Dims
    opt: Dims
    max: Dims
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.min.size() == self.opt.size() && self.opt.size() == self.max.size()",
                "profiles: min, opt and max of a tensor have the same number of dimensions, batch first",
            )
        )
    )


class Profile(ApiModel):
    """An optimisation profile."""

    shapes: list[ShapeRange] = Field(
        min_length=1,
        max_length=32,
        description="Full shapes, batch first, as trtexec's --minShapes and so on.",
    )


class TensorRT(ApiModel):
    """A TensorRT engine, built from ONNX on the GPU type that will run it."""

    source: Source
    precision: Precision = Field(
        Precision.TF32, description="Lowest precision the engine computes in; never silently a higher one."
    )
    opt_batch_size: int | None = Field(None, ge=1, description="Batch to optimise for; default maxBatchSize.")
    profiles: list[Profile] = Field(
        default_factory=list,
        max_length=16,
        description="Default: one profile, batch 1 to maxBatchSize; needed where other axes are dynamic too.",
    )
    model_config = ConfigDict(json_schema_extra=ATOMIC)


class Python(ApiModel):
    """A model of Triton's Python backend."""

    source: Source = Field(description="model.py, or a folder that becomes the version folder.")
    environment: Source | None = Field(
        None, description="A packed environment (conda-pack, tar.gz), given to EXECUTION_ENV_PATH."
    )
    model_config = ConfigDict(json_schema_extra=ATOMIC)


class InputFrom(ApiModel):
    name: TensorName = Field(description="The model's own name of the input.")
    from_: TensorName = Field(alias="from", description="The ensemble tensor that feeds it.")


class OutputTo(ApiModel):
    name: TensorName = Field(description="The model's own name of the output.")
    to: TensorName = Field(description="The ensemble tensor it becomes.")


class Step(ApiModel):
    """One model's place in the graph."""

    model: ModelName = Field(description="Name of another model in spec.models.")
    version: int = Field(-1, ge=-1, description="-1 takes the newest version served.")
    inputs: list[InputFrom] = Field(min_length=1, max_length=64)
    outputs: list[OutputTo] = Field(min_length=1, max_length=64)


class Ensemble(ApiModel):
    """A graph of models; an ensemble is a model itself."""

    chain: list[ModelName] | None = Field(
        None, min_length=1, max_length=32, description="Models in order; tensors are joined by name."
    )
    steps: list[Step] | None = Field(None, min_length=1, max_length=64)
    model_config = ConfigDict(
        json_schema_extra=rules(exactly_one("chain", "steps", what="ensemble"), **ATOMIC)
    )


KINDS = ("dali", "tensorrt", "onnxruntime", "python", "files", "ensemble")
"""Member kinds: exactly one stands in each model (or `versions` with one in each version)."""


class ModelVersion(ApiModel):
    """One numbered version of a model."""

    version: int = Field(ge=1, le=2**31 - 1, description="Name of the version folder.")
    dali: Dali | None = None
    tensorrt: TensorRT | None = None
    onnxruntime: OnnxRuntime | None = None
    python: Python | None = None
    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("dali", "tensorrt", "onnxruntime", "python", what="model version")
        )
    )


class LabelFile(ApiModel):
    """A text file with one label a line, in the order of the tensor's classes."""

    output: TensorName = Field(description="The output tensor that the labels belong to.")
    source: Source
    model_config = ConfigDict(json_schema_extra=rules(one_file("source")))


class ExtraFile(ApiModel):
    """A further file of a model."""

    path: str = Field(
        min_length=1,
        max_length=512,
        pattern=r"^[A-Za-z0-9_.\-]+(/[A-Za-z0-9_.\-]+)*$",
        description="Path in the model's folder, beside the version folders.",
    )
    source: Source
    model_config = ConfigDict(
        json_schema_extra=rules(
            one_file("source"),
            Rule(
                "!self.path.matches('(^|/)[.][.]?(/|$)')",
                "path: . and .. are refused; give the path from the model's folder",
            ),
            Rule(
                "self.path != 'config.pbtxt'",
                "path: config.pbtxt is made by the operator; state what it should say under config",
            ),
        )
    )


class AutoComplete(str, Enum):
    FULL = "Full"
    DECLARED = "Declared"
    SERVER = "Server"


class Model(ApiModel):
    """A model of the repository: exactly one kind, or several versions."""

    name: ModelName
    max_batch_size: int | None = Field(
        None, ge=0, le=65536, description="0 turns batching off; inferred where absent."
    )
    dali: Dali | None = None
    tensorrt: TensorRT | None = None
    onnxruntime: OnnxRuntime | None = None
    python: Python | None = None
    files: Source | None = Field(
        None,
        description="A folder that becomes the model's folder as is, for any backend.",
        json_schema_extra=ATOMIC,
    )
    ensemble: Ensemble | None = None
    versions: list[ModelVersion] | None = Field(
        None,
        min_length=1,
        max_length=16,
        description="Several versions of one model.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    labels: list[LabelFile] = Field(
        default_factory=list, max_length=32, description="Label files for classification requests."
    )
    extra_files: list[ExtraFile] = Field(
        default_factory=list, max_length=32, description="Files beside the version folders."
    )
    config: Object | None = Field(
        None, description="Any field of Triton's ModelConfig by its own name; wins over what is generated."
    )
    auto_complete: AutoComplete = Field(
        AutoComplete.FULL,
        description="Full: the published config states all; Declared: inputs and outputs only, no scheduler; "
        "Server: the config is left to tritonserver's own completion.",
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(*KINDS, "versions", what="model"),
            Rule(
                "!has(self.versions) || "
                "self.versions.all(a, self.versions.exists_one(b, b.version == a.version))",
                "versions: each version number may stand once",
            ),
            Rule(
                "!has(self.files) || (has(self.files.uri) && self.files.uri.endsWith('/'))",
                "files: give the model's folder as an uri that ends in /, as in s3://bucket/models/mine/",
            ),
            Rule(
                "!has(self.tensorrt) || !has(self.tensorrt.optBatchSize) || !has(self.maxBatchSize) || "
                "self.tensorrt.optBatchSize <= self.maxBatchSize",
                "tensorrt.optBatchSize: exceeds maxBatchSize; lower it, or raise maxBatchSize",
            ),
        )
    )


class Repository(ApiModel):
    """A whole hand-written model repository."""

    uri: S3Uri = Field(description="s3://bucket/prefix/ whose folders are models.")
    secret_name: ObjectName | None = Field(
        None, description="Secret with keys for this uri, where spec.storage.secretName does not fit."
    )


class Identity(ApiModel):
    """Access without keys, by a projected service account token."""

    service_account_name: ObjectName = Field(description="Service account whose token is projected.")
    role_arn: str = Field(min_length=1, max_length=2048, description="Role to assume with the token.")
    audience: str = Field("sts.amazonaws.com", min_length=1, max_length=256)
    model_config = ConfigDict(json_schema_extra=ATOMIC)


class AddressingStyle(str, Enum):
    AUTO = "Auto"
    PATH = "Path"
    VIRTUAL = "Virtual"


class Storage(ApiModel):
    """Object storage (S3) for artifacts and published revisions."""

    uri: S3Uri = Field(description="Where artifacts and revisions are kept. One trust domain.")
    endpoint: str = Field("", max_length=512, description="URL of an S3-compatible server; empty for AWS.")
    region: str = Field("us-east-1", max_length=64)
    addressing_style: AddressingStyle = Field(
        AddressingStyle.AUTO, description="Auto: path style with an endpoint, virtual hosts without."
    )
    secret_name: ObjectName | None = Field(
        None, description="Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, optional AWS_SESSION_TOKEN."
    )
    identity: Identity | None = None
    ca_config_map: ConfigMapKey | None = Field(None, description="CA bundle of a private endpoint.")
    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("secretName", "identity", what="storage"),
            Rule(
                "self.endpoint == '' || self.endpoint.startsWith('http://') || self.endpoint.startsWith('https://')",
                "endpoint: write the URL with its scheme, as in http://s3.storage.svc:9000",
            ),
        )
    )


class Runtime(ApiModel):
    """Which Triton release builds and serves; default the operator's."""

    release: str | None = Field(
        None, min_length=1, max_length=32, description="A row of the operator's release table."
    )
    server_image: Image | None = Field(None, description="A tritonserver image outside of the release table.")
    builder_image: Image | None = Field(None, description="The builder image made from serverImage.")
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.serverImage) == has(self.builderImage)",
                "serverImage and builderImage go together: engines and pipelines fit only the server "
                "they were built for",
            ),
            Rule(
                "!(has(self.release) && has(self.serverImage))",
                "set either release or serverImage with builderImage, not both",
            ),
        )
    )


class Gpu(ApiModel):
    """GPUs of each server; absent, the target serves on the CPU."""

    product: LabelValue | None = Field(None, description="Value of the node label nvidia.com/gpu.product.")
    count: int = Field(1, ge=1, le=16)
    resource_name: str = Field(
        "nvidia.com/gpu",
        max_length=253,
        pattern=r"^[a-z0-9.\-]+/[A-Za-z0-9_.\-]+$",
        description="The extended resource that a pod asks for.",
    )
    model_config = ConfigDict(json_schema_extra=ATOMIC)


class Target(ApiModel):
    """A GPU type (or the CPU) to build for and to serve on."""

    name: str = Field(max_length=20, pattern=r"^[a-z0-9]([a-z0-9\-]*[a-z0-9])?$")
    gpu: Gpu | None = None


Quantities = Annotated[dict[str, Annotated[int, Field(ge=0)] | Quantity], Field(max_length=16)]


class Resources(ApiModel):
    """As in a container."""

    requests: Quantities | None = None
    limits: Quantities | None = None


RESERVED_KEYS = Rule(
    "self.all(k, !k.matches('^([^/]*[.])?(ensembles[.]dev|kubernetes[.]io)/'))",
    "keys under ensembles.dev and kubernetes.io are reserved: choose another prefix",
)
VALID_KEYS = Rule(
    "self.all(k, k.matches('^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$'))",
    "keys are written as name or prefix/name, in letters, digits, '-', '_' and '.'",
)


SERVER_OPTIONS_OF_THE_OPERATOR = (
    "--model-repository", "--model-store", "--model-control-mode", "--load-model", "--repository-poll-secs",
    "--http-port", "--http-address", "--allow-http", "--grpc-port", "--grpc-address", "--allow-grpc",
    "--metrics-port", "--metrics-address", "--allow-metrics", "--strict-readiness", "--exit-on-error",
    "--exit-timeout-secs", "--disable-auto-complete-config", "--strict-model-config",
)  # fmt: skip
"""tritonserver options that would break what the operator promises: revisions, probes, draining."""


class LocalObject(ApiModel):
    name: ObjectName


class Serving(ApiModel):
    """The tritonserver Deployment."""

    replicas: int = Field(1, ge=0, le=1000, description="Servers of each target.")
    targets: list[Target] = Field(
        default_factory=list,
        max_length=8,
        description="GPU types to serve on. Absent: one target, with a GPU if a model needs one.",
        json_schema_extra=rules(
            Rule("self.all(a, self.exists_one(b, b.name == a.name))", "targets: each name may stand once")
        ),
    )
    resources: Resources = Field(
        default_factory=Resources,
        description="Of the tritonserver container; GPUs come from targets.",
    )
    node_selector: Labels = Field(default_factory=dict, json_schema_extra=rules(VALID_KEYS))
    tolerations: list[Object] = Field(default_factory=list, max_length=32, description="As in a PodSpec.")
    affinity: Object | None = Field(None, description="As in a PodSpec.")
    topology_spread_constraints: list[Object] = Field(
        default_factory=list, max_length=16, description="As in a PodSpec; labelSelector is filled in."
    )
    extra_args: list[Annotated[str, Field(max_length=512)]] = Field(
        default_factory=list,
        max_length=64,
        description="Further tritonserver options.",
        json_schema_extra=rules(
            Rule(
                f"self.all(a, a.startsWith('--') && !{list(SERVER_OPTIONS_OF_THE_OPERATOR)}"
                # getopt takes every unambiguous beginning of an option for the option.
                ".exists(r, r.startsWith(a.split('=')[0])))",
                "extraArgs: write options as --name=value; repository, control mode, ports, readiness "
                "and exit behaviour are the operator's",
            )
        ),
    )
    pod_labels: Labels = Field(default_factory=dict, json_schema_extra=rules(RESERVED_KEYS, VALID_KEYS))
    pod_annotations: Annotations = Field(
        default_factory=dict, json_schema_extra=rules(RESERVED_KEYS, VALID_KEYS)
    )
    image_pull_secrets: list[LocalObject] = Field(default_factory=list, max_length=8)
    service_account_name: ObjectName | None = None
    priority_class_name: ObjectName | None = None
    runtime_class_name: ObjectName | None = None
    startup_seconds: int = Field(
        600,
        ge=10,
        le=86400,
        description="How long fetching and loading may take before the pod is restarted.",
    )
    drain_seconds: int = Field(
        30, ge=1, le=3600, description="How long running requests are given when a pod ends."
    )


class Build(ApiModel):
    """The build Jobs."""

    resources: Resources = Field(default_factory=Resources, description="Of the container that compiles.")
    node_selector: Labels = Field(default_factory=dict, json_schema_extra=rules(VALID_KEYS))
    tolerations: list[Object] = Field(default_factory=list, max_length=32, description="As in a PodSpec.")
    timeout_seconds: int = Field(
        3600, ge=30, le=86400, description="How long one build may run, from the start of its pod."
    )


class Rollout(ApiModel):
    """How new servers replace the old ones."""

    strategy: Literal["BlueGreen"] = "BlueGreen"
    retain_seconds: int = Field(
        60, ge=0, le=86400, description="How long the old servers stay after the switch."
    )
    verify_seconds: int = Field(
        600, ge=10, le=86400, description="How long new servers may take to answer the first inference."
    )


class DeletionPolicy(str, Enum):
    RETAIN = "Retain"
    DELETE = "Delete"


def _known_members(field: str, *, each: str) -> Rule:
    """Every member of an ensemble is another model of the list; a repository may add others."""
    known = f"{each} != m.name && {each} in self.models.map(o, o.name)"
    return Rule(
        "!has(self.models) || has(self.repository) || "
        "self.models.all(m, !has(m.ensemble) || "
        f"!has(m.ensemble.{field}) || m.ensemble.{field}.all(s, {known}))",
        f"ensemble.{field}: names a model that is not in spec.models, or the ensemble itself; "
        "use the names of other models",
    )


class InferenceEnsembleSpec(ApiModel):
    storage: Storage
    runtime: Runtime = Field(default_factory=Runtime)
    models: list[Model] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra=rules(
            Rule(
                "self.all(a, self.exists_one(b, b.name == a.name))",
                "models: two models have the same name; rename one",
            ),
            **{"x-kubernetes-list-type": "atomic"},
        ),
    )
    repository: Repository | None = Field(
        None, description="Hand-written models, beside or instead of spec.models; published as they are."
    )
    entrypoint: ModelName | None = Field(
        None, description="The model clients call; default the last ensemble, else the last model."
    )
    serving: Serving = Field(default_factory=Serving)
    build: Build = Field(default_factory=Build)
    rollout: Rollout = Field(default_factory=Rollout)
    suspend: bool = Field(
        default=False, description="Stop working on this resource; what serves goes on serving."
    )
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN, description="Delete removes the published revisions with the resource."
    )
    revision_history_limit: int = Field(
        10, ge=1, le=100, description="Revisions kept in storage to go back to."
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(has(self.models) && self.models.size() > 0) || has(self.repository)",
                "say what to serve: set models or repository",
            ),
            Rule(
                "!has(self.entrypoint) || has(self.repository) || "
                "(has(self.models) && self.models.exists(m, m.name == self.entrypoint))",
                "entrypoint: no model has this name; use a name of spec.models",
                "'entrypoint: no model is called ' + self.entrypoint + '; use a name of spec.models'",
            ),
            _known_members("steps", each="s.model"),
            _known_members("chain", each="s"),
        )
    )
