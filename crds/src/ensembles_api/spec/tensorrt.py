"""TensorRT engines: what to build from an ONNX file, and how."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import ConfigDict, Field

from ensembles_api.schema import ATOMIC, ApiModel, Rule, exactly_one, rules
from ensembles_api.spec.exports import Export
from ensembles_api.spec.proofs import EngineVerification
from ensembles_api.spec.values import SharedLibraries, Source, TensorName


class Precision(str, Enum):
    TF32 = "tf32"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"


class KeepFp32(ApiModel):
    """Parts of the graph that are computed in FP32 whatever `precision` says."""

    ops: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        default_factory=list, max_length=32, description="ONNX operators, such as Softmax."
    )
    nodes: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        default_factory=list, max_length=256, description="Names of nodes of the ONNX graph."
    )


class FloatType(str, Enum):
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


class TensorType(ApiModel):
    """The type of one input or output."""

    name: TensorName = Field(description="Input or output of the ONNX graph, of a floating-point type.")
    data_type: FloatType


Dims = Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(max_length=8)]


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


Values = Annotated[list[Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]], Field(min_length=1, max_length=8)]


class ValueRange(ApiModel):
    """The values that one shape tensor may hold."""

    name: TensorName = Field(description="Input of the ONNX graph whose value decides shapes.")
    min: Values
    opt: Values
    max: Values
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.min.size() == self.opt.size() && self.opt.size() == self.max.size()",
                "profiles: min, opt and max of a shape tensor hold the same number of values",
            )
        )
    )


class Profile(ApiModel):
    """An optimisation profile."""

    shapes: list[ShapeRange] = Field(
        default_factory=list,
        max_length=32,
        description="Full shapes, batch first, as trtexec's --minShapes and so on.",
    )
    values: list[ValueRange] = Field(
        default_factory=list,
        max_length=32,
        description="Of inputs that are shape tensors; with maxBatchSize, their first value is the batch.",
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(has(self.shapes) && size(self.shapes) > 0) || (has(self.values) && size(self.values) > 0)",
                "profiles: state shapes or values; without profiles one is made from maxBatchSize",
            )
        )
    )


class HardwareCompatibility(str, Enum):
    NONE = "None"
    AMPERE_PLUS = "AmperePlus"
    SAME_COMPUTE_CAPABILITY = "SameComputeCapability"


FLAGS_WITH_FIELDS = {
    "precision": ("FP16", "BF16", "INT8", "FP8", "FP4", "INT4", "TF32"),
    "keepFp32": ("OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS", "STRICT_TYPES"),
    "builder.versionCompatible": ("VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"),
}
"""BuilderFlags that the product sets itself, by the field that says so."""
FLAGS_NOT_SERVED = (
    "DEBUG", "DISABLE_TIMING_CACHE", "ERROR_ON_TIMING_CACHE_MISS", "REFIT", "REFIT_IDENTICAL",
    "REFIT_INDIVIDUAL", "REQUIRE_USER_ALLOCATION", "SAFETY_SCOPE", "STRIP_PLAN", "WEIGHT_STREAMING",
)  # fmt: skip
"""BuilderFlags for programs that load engines themselves: tritonserver cannot use what they give."""
Name = Annotated[str, Field(max_length=64, pattern=r"^[A-Z][A-Z0-9_]*$")]


class EngineBuilder(ApiModel):
    """Settings of TensorRT's builder. What the release's TensorRT does not know is refused."""

    optimization_level: int | None = Field(
        None, ge=0, le=5, description="How long to search for fast kernels; TensorRT's default is 3."
    )
    workspace: str | None = Field(
        None,
        max_length=16,
        pattern=r"^[1-9][0-9]{0,7}(Mi|Gi)$",
        description="GPU memory that a layer may use for scratch; default all there is.",
    )
    version_compatible: bool = Field(
        default=False,
        description="The engine also loads in later TensorRT of the same major version; slower.",
    )
    hardware_compatibility: HardwareCompatibility = Field(
        HardwareCompatibility.NONE,
        description="The engine also runs on other GPUs: of Ampere and newer, or of the same compute "
        "capability; slower.",
    )
    tactic_sources: list[Name] = Field(
        default_factory=list,
        max_length=16,
        description="Libraries to take kernels from, by TensorRT's names; default TensorRT's own choice.",
    )
    flags: list[Name] = Field(
        default_factory=list,
        max_length=16,
        description="Further flags, by TensorRT's names, such as SPARSE_WEIGHTS.",
        json_schema_extra=rules(
            *(
                Rule(
                    f"self.all(f, !(f in {list(names)}))",
                    f"builder.flags: {', '.join(names)} follow from {field}: set that instead",
                )
                for field, names in FLAGS_WITH_FIELDS.items()
            ),
            Rule(
                f"self.all(f, !(f in {list(FLAGS_NOT_SERVED)}))",
                f"builder.flags: tritonserver has no use for {', '.join(FLAGS_NOT_SERVED)}: leave them out",
            ),
        ),
    )


class TensorRT(ApiModel):
    """A TensorRT engine, built from ONNX on the GPU type that will run it."""

    source: Source | None = Field(
        None, description="The .onnx file, or a folder holding one .onnx file and its external data."
    )
    export: Export | None = Field(None, description="A container that writes the ONNX file.")
    precision: Precision = Field(
        Precision.TF32, description="Lowest precision the engine computes in; never silently a higher one."
    )
    keep_fp32: KeepFp32 | None = Field(None, description="What stays in FP32 where precision is lower.")
    io: list[TensorType] = Field(
        default_factory=list,
        max_length=64,
        description="Types of inputs and outputs; default those of the ONNX.",
    )
    opt_batch_size: int | None = Field(
        None, ge=1, description="Batch to optimise for; default maxBatchSize. Not with profiles."
    )
    profiles: list[Profile] = Field(
        default_factory=list,
        max_length=16,
        description="Default: one profile, batch 1 to maxBatchSize; needed where other axes are dynamic too.",
    )
    builder: EngineBuilder = Field(default_factory=EngineBuilder)
    verification: EngineVerification | None = Field(
        None, description="How the engine is compared with a reference before it is stored."
    )
    plugins: SharedLibraries = Field(
        default_factory=list,
        description="Shared libraries with layers of your own, loaded by builder and server.",
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("source", "export", what="tensorrt"),
            Rule(
                "!has(self.keepFp32) || (has(self.precision) && !(self.precision in ['tf32', 'fp32']))",
                "keepFp32 goes with a precision below fp32: set precision, or remove keepFp32",
            ),
            Rule(
                "!has(self.optBatchSize) || !has(self.profiles) || size(self.profiles) == 0",
                "optBatchSize goes without profiles, which state their own opt: remove one of them",
            ),
            **ATOMIC,
        )
    )
