"""InferenceEnsemble `spec`: the single source of the CRD's schema.

Field descriptions become `kubectl explain`; rules become CEL. Tensor names are always values, never keys:
YAML turns the keys y, n and on into booleans.
"""

from __future__ import annotations

from enum import Enum

from pydantic import ConfigDict, Field

from ensembles_api.schema import ApiModel, Rule, rules
from ensembles_api.spec.autoscaling import Autoscaling, Keda, ScalingTarget
from ensembles_api.spec.exports import EnvironmentVariable, Export, ExportInput
from ensembles_api.spec.members import (
    Dali,
    DaliMode,
    Ensemble,
    InputFrom,
    OnnxRuntime,
    OutputTo,
    PipelineVerification,
    Python,
    PythonEnvironment,
    Sample,
    Step,
)
from ensembles_api.spec.models import (
    KINDS,
    AutoComplete,
    ExtraFile,
    LabelFile,
    Model,
    ModelVersion,
    Repository,
)
from ensembles_api.spec.proofs import EngineSample, EngineVerification, OutputTolerance, Reference
from ensembles_api.spec.rollout import (
    Analysis,
    Canary,
    CanaryStep,
    Gateway,
    GatewayGrpc,
    RollingUpdate,
    Rollout,
    Strategy,
)
from ensembles_api.spec.serving import (
    RESERVED_KEYS,
    SERVER_OPTIONS_OF_THE_OPERATOR,
    VALID_KEYS,
    Build,
    Gpu,
    HttpProxy,
    Runtime,
    Serving,
    Target,
)
from ensembles_api.spec.storage import (
    AddressingStyle,
    Identity,
    Storage,
)
from ensembles_api.spec.tensorrt import (
    FLAGS_NOT_SERVED,
    FLAGS_WITH_FIELDS,
    Dims,
    EngineBuilder,
    FloatType,
    HardwareCompatibility,
    KeepFp32,
    Precision,
    Profile,
    ShapeRange,
    TensorRT,
    TensorType,
    ValueRange,
)
from ensembles_api.spec.values import (
    Annotations,
    ConfigMapKey,
    Image,
    Labels,
    LabelValue,
    LocalObject,
    ModelName,
    NamedSource,
    Object,
    ObjectName,
    Quantities,
    Quantity,
    Resources,
    S3Uri,
    Sha256,
    Source,
    SourceUri,
    TensorName,
    one_file,
)
from ensembles_api.spec.verification import (
    AllClose,
    Case,
    CaseInput,
    Encoding,
    Expectation,
    Golden,
    Latency,
    Range,
    TopK,
    Verification,
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
    autoscaling: Autoscaling | None = Field(
        None, description="Who scales the servers, between which numbers, and by what."
    )
    build: Build = Field(default_factory=Build)
    rollout: Rollout = Field(default_factory=Rollout)
    verification: Verification = Field(default_factory=Verification)
    gateway: Gateway | None = Field(
        None, description="Routes of the Gateway API to the servers, beside their Service."
    )
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
            Rule(
                "!has(self.autoscaling) || !has(self.serving) || self.serving.replicas <= 1",
                "serving.replicas: an autoscaler sets the number of servers; remove replicas and set "
                "autoscaling.minReplicas, or remove autoscaling (replicas 0 ends all servers)",
            ),
            Rule(
                "!has(self.verification) || !has(self.verification.cases) || has(self.repository) || "
                "self.verification.cases.all(c, !has(c.model) || "
                "(has(self.models) && self.models.exists(m, m.name == c.model)))",
                "verification.cases: model names none of spec.models; use one of their names",
            ),
            _known_members("steps", each="s.model"),
            _known_members("chain", each="s"),
        )
    )


__all__ = [
    "FLAGS_NOT_SERVED",
    "FLAGS_WITH_FIELDS",
    "KINDS",
    "RESERVED_KEYS",
    "SERVER_OPTIONS_OF_THE_OPERATOR",
    "VALID_KEYS",
    "AddressingStyle",
    "AllClose",
    "Analysis",
    "Annotations",
    "AutoComplete",
    "Autoscaling",
    "Build",
    "Canary",
    "CanaryStep",
    "Case",
    "CaseInput",
    "ConfigMapKey",
    "Dali",
    "DaliMode",
    "DeletionPolicy",
    "Dims",
    "Encoding",
    "EngineBuilder",
    "EngineSample",
    "EngineVerification",
    "Ensemble",
    "EnvironmentVariable",
    "Expectation",
    "Export",
    "ExportInput",
    "ExtraFile",
    "FloatType",
    "Gateway",
    "GatewayGrpc",
    "Golden",
    "Gpu",
    "HardwareCompatibility",
    "HttpProxy",
    "Identity",
    "Image",
    "InferenceEnsembleSpec",
    "InputFrom",
    "Keda",
    "KeepFp32",
    "LabelFile",
    "LabelValue",
    "Labels",
    "Latency",
    "LocalObject",
    "Model",
    "ModelName",
    "ModelVersion",
    "NamedSource",
    "Object",
    "ObjectName",
    "OnnxRuntime",
    "OutputTo",
    "OutputTolerance",
    "PipelineVerification",
    "Precision",
    "Profile",
    "Python",
    "PythonEnvironment",
    "Quantities",
    "Quantity",
    "Range",
    "Reference",
    "Repository",
    "Resources",
    "RollingUpdate",
    "Rollout",
    "Runtime",
    "S3Uri",
    "Sample",
    "ScalingTarget",
    "Serving",
    "Sha256",
    "ShapeRange",
    "Source",
    "SourceUri",
    "Step",
    "Storage",
    "Strategy",
    "Target",
    "TensorName",
    "TensorRT",
    "TensorType",
    "TopK",
    "ValueRange",
    "Verification",
    "one_file",
]
