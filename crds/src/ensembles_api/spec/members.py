"""Member kinds: what a model can be made of."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import ConfigDict, Field

from ensembles_api.schema import ATOMIC, ApiModel, Rule, exactly_one, rules
from ensembles_api.spec.exports import Export
from ensembles_api.spec.values import (
    ModelName,
    NamedSource,
    Object,
    SharedLibraries,
    Source,
    TensorName,
    one_file,
)


class Sample(ApiModel):
    """One request's worth of inputs."""

    inputs: list[NamedSource] = Field(min_length=1, max_length=32)


class PipelineVerification(ApiModel):
    """The pipeline answers samples before it is published, on a GPU where it has GPU operators.

    Not part of its key: changing them verifies again and builds nothing.
    """

    samples: list[Sample] = Field(
        default_factory=list, max_length=8, description="Default: the pipeline's `samples`."
    )


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
    plugins: SharedLibraries = Field(
        default_factory=list,
        description="Shared libraries with operators of your own, loaded by builder and server.",
    )
    samples: list[Sample] = Field(
        default_factory=list,
        max_length=16,
        description="Requests to try the pipeline with. The build runs them on the CPU, GPU operators as "
        "their CPU twins: what has none is not tried there. New servers answer those of up to 1 MiB before "
        "they get traffic.",
    )
    verification: PipelineVerification | None = Field(
        None,
        description="Run the pipeline on samples, at batch 1 and maxBatchSize; default: its CPU twin alone.",
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            one_file("source"),
            Rule(
                "!has(self.verification) || (has(self.samples) && self.samples.size() > 0) || "
                "(has(self.verification.samples) && self.verification.samples.size() > 0)",
                "verification: give the samples to run, in verification.samples or in samples",
            ),
            **ATOMIC,
        )
    )


class OnnxRuntime(ApiModel):
    """An ONNX model run by ONNX Runtime."""

    source: Source | None = Field(
        None, description="The .onnx file, or a folder holding one .onnx file and its external data."
    )
    export: Export | None = Field(None, description="A container that writes the ONNX file.")
    model_config = ConfigDict(
        json_schema_extra=rules(exactly_one("source", "export", what="onnxruntime"), **ATOMIC)
    )


Requirement = Annotated[
    str,
    Field(
        max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]*(\[[A-Za-z0-9,._\-]+\])?==[A-Za-z0-9.+!_\-]+$"
    ),
]


class PythonEnvironment(ApiModel):
    """The packages of a Python model, for the Python of the release's server."""

    source: Source | None = Field(None, description="A packed environment (conda-pack, tar.gz).")
    requirements: list[Requirement] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Packages to pack in a build Job, each pinned (pillow==12.0.0); numpy is always needed.",
    )
    index_url: str | None = Field(
        None,
        max_length=512,
        pattern=r"^https?://[^\s@]+$",
        description="The package index; default that of the builder image, else the Python Package Index.",
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("source", "requirements", what="environment"),
            Rule(
                "!has(self.indexUrl) || has(self.requirements)",
                "indexUrl goes with requirements: remove it, or list requirements",
            ),
            **ATOMIC,
        )
    )


class Python(ApiModel):
    """A model of Triton's Python backend."""

    source: Source = Field(description="model.py, or a folder that becomes the version folder.")
    environment: PythonEnvironment | None = Field(
        None, description="Packages of the model's own, given to the server as EXECUTION_ENV_PATH."
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
