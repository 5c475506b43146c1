"""Runs the compile command on pipelines written in the tests, with real DALI."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ensemble_builder.commands import compile as compiling
from ensemble_builder.compilers.parameters import DaliParameters
from ensembles_api.contract import BuildOrder, CompileResult, Fault, ModelIO, OrderedProof

FIELD = "spec.models[3].dali"
HEADER = (
    "from nvidia.dali import fn, pipeline_def, types\nfrom nvidia.dali.plugin.triton import autoserialize\n"
)


@dataclass(frozen=True)
class Built:
    work: Path
    result: CompileResult

    @property
    def io(self) -> ModelIO:
        assert self.result.fault is None, self.result.fault
        assert self.result.io is not None
        return self.result.io

    @property
    def fault(self) -> Fault:
        assert self.result.fault is not None
        return self.result.fault

    @property
    def file(self) -> bytes:
        assert self.result.fault is None, self.result.fault
        (name,) = self.result.files
        return (self.work / "out" / name).read_bytes()


Build = Callable[..., Built]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Compiles a pipeline's text; `files` are put beside it, `proof` are the settings of its verification,
    other arguments become DaliParameters.
    """
    count = 0

    def compile_text(
        text: str,
        *,
        files: Mapping[str, bytes] | None = None,
        proof: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Built:
        nonlocal count
        count += 1
        work = tmp_path / f"work-{count}"
        (work / "in").mkdir(parents=True)
        (work / "in" / "pipeline.py").write_text(HEADER + textwrap.dedent(text))
        for path, content in (files or {}).items():
            (work / "in" / path).write_bytes(content)
        order = BuildOrder(
            kind="dali",
            key="0" * 64,
            model="preprocess",
            version=1,
            field=FIELD,
            inputs=(),
            parameters=DaliParameters.model_validate(parameters).model_dump(mode="json"),
            proof=None if proof is None else OrderedProof(key="1" * 64, settings=dict(proof)),
        )
        (work / "order.json").write_bytes(order.canonical())
        result = compiling.run(work)
        written = CompileResult.model_validate_json((work / "out" / "result.json").read_bytes())
        assert written == result
        assert not (work / "scratch").exists()
        return Built(work, result)

    return compile_text
