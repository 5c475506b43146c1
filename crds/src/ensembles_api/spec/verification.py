"""What new servers must answer before a client reaches them."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import ConfigDict, Field

from ensembles_api.schema import ApiModel, Rule, exactly_one, rules
from ensembles_api.spec.values import ModelName, Source, TensorName, one_file

CaseName = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.\-]*[A-Za-z0-9])?$")
]
Shape = Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(max_length=8)]
Milliseconds = Annotated[int, Field(ge=1, le=600000)]
ENCODING = "Default: Npy for .npy, Json for .json and inline numbers, else Raw, the bytes as they are."
SHAPE = "With the batch axis; default as in the config, a batch of one."


class Encoding(str, Enum):
    NPY = "Npy"
    JSON = "Json"
    RAW = "Raw"


class CaseInput(ApiModel):
    """The value of one input tensor."""

    name: TensorName = Field(description="Input tensor.")
    source: Source
    encoding: Encoding | None = Field(None, description=ENCODING)
    shape: Shape | None = Field(None, description=SHAPE)
    model_config = ConfigDict(json_schema_extra=rules(one_file("source")))


class TopK(ApiModel):
    """A class that must be among the largest values, in each row of a batch."""

    k: int = Field(1, ge=1, le=1000)
    label: str | None = Field(
        None, min_length=1, max_length=256, description="A line of the output's label file."
    )
    index: int | None = Field(None, ge=0, le=2**31 - 1)
    model_config = ConfigDict(json_schema_extra=rules(exactly_one("label", "index", what="topK")))


class Golden(ApiModel):
    """The value that an output must have."""

    source: Source
    encoding: Encoding | None = Field(None, description=ENCODING)
    shape: Shape | None = Field(None, description=SHAPE)
    model_config = ConfigDict(json_schema_extra=rules(one_file("source")))


class AllClose(Golden):
    """The value that an output must be close to: |answer - golden| <= atol + rtol * |golden|."""

    rtol: float = Field(0.001, ge=0, le=1e6)
    atol: float = Field(0.00001, ge=0, le=1e12)


class Range(ApiModel):
    """Where every value of an output must lie."""

    min: float | None = None
    max: float | None = None
    model_config = ConfigDict(
        json_schema_extra=rules(Rule("has(self.min) || has(self.max)", "range: set min, max or both"))
    )


class Expectation(ApiModel):
    """What one output must be like."""

    output: TensorName
    response: int | None = Field(
        None, ge=0, le=65535, description="Of a decoupled model's responses, which; default all."
    )
    top_k: TopK | None = None
    all_close: AllClose | None = None
    equals: Golden | None = None
    range: Range | None = None
    model_config = ConfigDict(
        json_schema_extra=rules(exactly_one("topK", "allClose", "equals", "range", what="expect"))
    )


class Latency(ApiModel):
    """Bounds for the time of one request, asked one after the other."""

    requests: int = Field(20, ge=1, le=1000)
    p50_milliseconds: Milliseconds | None = None
    p99_milliseconds: Milliseconds | None = None
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.p50Milliseconds) || has(self.p99Milliseconds)",
                "latency: set p50Milliseconds, p99Milliseconds or both",
            )
        )
    )


class Case(ApiModel):
    """One request and what its answer must be like."""

    name: CaseName
    model: ModelName | None = Field(None, description="Default: the entrypoint.")
    inputs: list[CaseInput] = Field(
        min_length=1,
        max_length=32,
        json_schema_extra=rules(
            Rule(
                "self.all(a, self.exists_one(b, b.name == a.name))",
                "inputs: two values for the same tensor; remove one",
            )
        ),
    )
    expect: list[Expectation] = Field(default_factory=list, max_length=32)
    latency: Latency | None = None


class Verification(ApiModel):
    """Real requests that every new server must answer. Changing them builds nothing; new servers are judged
    by them.
    """

    smoke_test: bool = Field(default=True, description="Ask every model with samples or zeros.")
    cases: list[Case] = Field(
        default_factory=list,
        max_length=32,
        json_schema_extra=rules(
            Rule(
                "self.all(a, self.exists_one(b, b.name == a.name))",
                "verification.cases: two have the same name; rename one",
            )
        ),
    )
