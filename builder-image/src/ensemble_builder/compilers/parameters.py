"""The compilers' own documents: what stands in `BuildOrder.parameters`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from ensembles_api.contract import Document
from ensembles_api.spec import EngineBuilder, KeepFp32, Precision, Profile, TensorType

DALI_REVISION = 1
"""Raised when the same pipeline would be compiled to something else; part of the artifact's key."""


class InputFile(Document):
    """One input of a sample: the path of its raw bytes under in/."""

    name: str
    file: str


class SampleFiles(Document):
    inputs: tuple[InputFile, ...]


class DaliParameters(Document):
    """How to compile a pipeline.

    function: the @pipeline_def function; None where the file has only one.
    args: its keyword arguments; strings `types.X` name members of nvidia.dali.types.
    max_batch_size: 0 without batching; None takes the pipeline's own (0 for fn.inputs operators).
    dali_version: what the release's server has; empty is not compared.
    inputs, outputs: entries of the model's config.input and config.output, which win over what is found.
    plugins: paths under in/ of shared libraries, loaded before the pipeline's file.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    function: str | None = None
    args: dict[str, Any] = Field(default_factory=dict)
    mode: Literal["Serialized", "Autoserialize"] = "Serialized"
    threads: int = 4
    max_batch_size: int | None = None
    dali_version: str = ""
    samples: tuple[SampleFiles, ...] = ()
    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    plugins: tuple[str, ...] = ()
    revision: int = DALI_REVISION


TENSORRT_REVISION = 1
"""As DALI_REVISION, for engines."""
ENVIRONMENT_REVISION = 1
"""As DALI_REVISION, for Python environments."""
EXPORT_REVISION = 1
"""As DALI_REVISION, for exports: raised when their containers are run in another way."""


class EnvironmentParameters(Document):
    """Which packages to pack. index_url: None takes pip's own setting."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    requirements: tuple[str, ...]
    index_url: str | None = None
    revision: int = ENVIRONMENT_REVISION


class TensorRTParameters(Document):
    """How to build an engine.

    max_batch_size: 0 without batching; None takes what the profiles allow.
    opt_batch_size: the batch to optimise for; None is the largest.
    keep_fp32, io, profiles, builder: as in the resource.
    tensorrt_version: what the release's server has; empty is not compared.
    plugins: paths under in/ of shared libraries, loaded before the ONNX file is read.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    precision: Precision = Precision.TF32
    keep_fp32: KeepFp32 = KeepFp32()
    io: tuple[TensorType, ...] = ()
    max_batch_size: int | None = None
    opt_batch_size: int | None = None
    profiles: tuple[Profile, ...] = ()
    builder: EngineBuilder = EngineBuilder()
    tensorrt_version: str = ""
    plugins: tuple[str, ...] = ()
    revision: int = TENSORRT_REVISION
