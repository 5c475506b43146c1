"""How an engine is proven before it is published."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import ConfigDict, Field

from ensembles_api.schema import ATOMIC, ApiModel, Rule, rules
from ensembles_api.spec.values import NamedSource, TensorName

RelativeL2 = Annotated[float, Field(ge=0.000001, le=10)]
Agreement = Annotated[float, Field(ge=0, le=1)]


class Reference(str, Enum):
    ONNX_RUNTIME = "OnnxRuntime"
    SAMPLES = "Samples"
    NONE = "None"


class EngineSample(ApiModel):
    """Typical inputs, and what the model answers to them where the reference is Samples.

    A file is .npy, or raw little-endian numbers where the tensor's shape is fixed.
    """

    inputs: list[NamedSource] = Field(min_length=1, max_length=32)
    outputs: list[NamedSource] = Field(default_factory=list, max_length=32)


class OutputTolerance(ApiModel):
    """What one output may differ by."""

    name: TensorName
    relative_l2: RelativeL2 | None = Field(None, description="As verification.relativeL2.")
    agreement: Agreement | None = Field(None, description="As verification.agreement.")
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.relativeL2) != has(self.agreement)",
                "verification.outputs: set relativeL2 or agreement, one of them",
            )
        )
    )


class EngineVerification(ApiModel):
    """The engine runs on the GPU before it is stored, and its answers are compared with a reference.

    These settings are not part of the engine's key: changing them verifies again and builds nothing.
    """

    reference: Reference = Field(
        Reference.ONNX_RUNTIME,
        description="OnnxRuntime runs the ONNX on the CPU; Samples takes the samples' outputs; None compares "
        "nothing.",
    )
    samples: list[EngineSample] = Field(
        default_factory=list, max_length=8, description="Default: random numbers, the same every time."
    )
    relative_l2: RelativeL2 | None = Field(
        None,
        description="Largest relative L2 error of any output; default by precision: fp32 0.001, tf32 and "
        "fp16 0.02, others 0.1.",
    )
    agreement: Agreement | None = Field(
        None,
        description="Least share of equal numbers in outputs of integers; default 0.99, and 0.95 for bf16, "
        "int8 and fp8.",
    )
    outputs: list[OutputTolerance] = Field(
        default_factory=list, max_length=64, description="Tolerances of single outputs."
    )
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.reference) || self.reference != 'Samples' || (has(self.samples) && "
                "self.samples.size() > 0 && self.samples.all(s, has(s.outputs) && s.outputs.size() > 0))",
                "verification.reference: Samples needs samples, each with its outputs",
            ),
            **ATOMIC,
        )
    )
