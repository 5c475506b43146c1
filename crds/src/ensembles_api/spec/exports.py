"""A container of the user's that writes an ONNX file."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from ensembles_api.schema import ApiModel, Rule, rules
from ensembles_api.spec.values import Image, Resources, Source

FileName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_\-][A-Za-z0-9_.\-]*$")]
Word = Annotated[str, Field(max_length=4096)]


class EnvironmentVariable(ApiModel):
    name: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    value: str = Field("", max_length=4096)


class ExportInput(ApiModel):
    """A file or folder that the exporter reads."""

    name: FileName = Field(description="It lies at /inputs/<name>.")
    source: Source


class Export(ApiModel):
    """A container that writes the ONNX file. It holds no credentials and runs as user 65532."""

    image: Image = Field(
        description="Best pinned by digest (name@sha256:...): a tag that moves is not noticed, see "
        "ensembles.dev/requestedAt."
    )
    command: list[Word] = Field(
        default_factory=list, max_length=64, description="As in a container; default the image's own."
    )
    args: list[Word] = Field(default_factory=list, max_length=256, description="As in a container.")
    env: list[EnvironmentVariable] = Field(
        default_factory=list,
        max_length=64,
        description="Each name once. EXPORT_OUTPUT, the path to write to, and HOME are there already.",
        json_schema_extra=rules(
            Rule(
                "self.all(a, !(a.name in ['EXPORT_OUTPUT', 'HOME']))",
                "export.env: EXPORT_OUTPUT and HOME are set for the container; leave them out",
            ),
            # Not a rule: comparing 64 names pairwise would cost the API server more than a CRD may.
            **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    )
    inputs: list[ExportInput] = Field(
        default_factory=list,
        max_length=10,
        description="Weights, code and other files that the exporter reads.",
        json_schema_extra=rules(
            Rule(
                "self.all(a, self.exists_one(b, b.name == a.name))", "export.inputs: each name may stand once"
            )
        ),
    )
    resources: Resources = Field(default_factory=Resources, description="Of the container.")
    gpu: bool = Field(default=False, description="Whether the exporter needs a GPU.")
    output: FileName = Field(
        "model.onnx",
        description="The file to write below /outputs; external data goes beside it.",
        json_schema_extra=rules(
            Rule("self.endsWith('.onnx')", "export.output: name a file that ends in .onnx")
        ),
    )
    model_config = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})
