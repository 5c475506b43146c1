"""A model of the repository: a member kind, its config, labels and versions."""

from __future__ import annotations

from enum import Enum

from pydantic import ConfigDict, Field

from ensembles_api.schema import ATOMIC, ApiModel, Rule, exactly_one, rules
from ensembles_api.spec.members import Dali, Ensemble, OnnxRuntime, Python
from ensembles_api.spec.tensorrt import TensorRT
from ensembles_api.spec.values import (
    ModelName,
    Object,
    ObjectName,
    S3Uri,
    Source,
    TensorName,
    one_file,
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
