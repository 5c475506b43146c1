"""Compiles a pipeline and proves it on samples; one that is in storage already is only proven.

A pipeline is compiled without a GPU. Whether it needs one shows only then: assemble asks for the proof in a
round of its own, by a Job with a GPU where the pipeline has GPU operators.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, ValidationError

from ensemble_builder.artifacts.proofs import PIPELINE_PROOF_REVISION
from ensemble_builder.compilers import child
from ensemble_builder.compilers.building import Building
from ensemble_builder.compilers.dali import proof as prover
from ensemble_builder.compilers.dali import samples
from ensemble_builder.compilers.dali.compiler import compile_pipeline, serialised
from ensemble_builder.compilers.dali.inputs import read_inputs
from ensemble_builder.compilers.dali.outputs import agree
from ensemble_builder.compilers.dali.serialized import TRITON_TYPES, SerializedPipeline, parse
from ensemble_builder.compilers.parameters import DaliParameters, SampleFiles
from ensemble_builder.compilers.tensorrt.device import check_device, find_device
from ensemble_builder.compilers.tensorrt.report import Device
from ensemble_builder.compilers.work_folder import BUILT, OUTPUTS, RECORD
from ensemble_builder.faults import FaultError
from ensembles_api.contract import (
    ArtifactRecord,
    BuildOrder,
    CompileResult,
    Document,
    Fault,
    ModelIO,
    Proof,
    Tensor,
)
from ensembles_api.reasons import Reason

MODEL = "model.dali"
_NO_MEMORY = re.compile(r"out of memory|MemoryAllocation|bad_alloc", re.IGNORECASE)


class ProofSettings(Document):
    """What stands in `BuildOrder.proof`. `samples`: none are the pipeline's own."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    samples: tuple[SampleFiles, ...] = ()
    revision: int = PIPELINE_PROOF_REVISION


def compile_proven(order: BuildOrder, *, work: Path) -> CompileResult:
    """The pipeline in `work`/out, or only the proof of the one in `work`/built.

    Raises:
        FaultError: as `compile_pipeline`; InvalidPipeline naming the sample that it does not answer as it
            should; GPUMismatch where it needs a GPU and there is none; GPUOutOfMemory.
    """
    record = work / RECORD
    if order.proof is not None and record.exists():
        io = ArtifactRecord.model_validate_json(record.read_bytes()).io
        return CompileResult(proof=_prove(order, work / BUILT, io, work))
    result = compile_pipeline(order, work=work)
    if order.proof is None or result.io is None:
        return result
    return result.model_copy(update={"proof": _prove(order, work / OUTPUTS, result.io, work)})


def _prove(order: BuildOrder, folder: Path, io: ModelIO, work: Path) -> Proof:
    parameters = DaliParameters.model_validate(order.parameters)
    # With Autoserialize the server does this itself, from the same file.
    data = (
        serialised(order, work=work) if parameters.mode == "Autoserialize" else (folder / MODEL).read_bytes()
    )
    proving = _Proving(order, parameters, work, io, parse(data))
    with proving.empty_scratch():
        return proving.run(data)


@dataclass(frozen=True)
class _Proving(Building[DaliParameters]):
    io: ModelIO
    pipeline: SerializedPipeline

    @property
    def settings(self) -> ProofSettings:
        return ProofSettings.model_validate(self.order.proof.settings if self.order.proof else {})

    @property
    def samples_field(self) -> str:
        return f"{self.order.field}{'.verification' if self.settings.samples else ''}.samples"

    def run(self, data: bytes) -> Proof:
        device = self._device()
        (self.scratch / MODEL).write_bytes(data)
        limit = self.io.max_batch_size or 1
        job = prover.Job(
            pipeline=str(self.scratch / MODEL),
            samples=tuple(self._saved()),
            batches=(1,) if self.pipeline.decoupled else tuple(sorted({1, limit})),
            threads=self.parameters.threads,
            gpu=self.pipeline.gpu,
            decoupled=self.pipeline.decoupled,
            plugins=self.input_paths(self.parameters.plugins),
        )
        (self.scratch / "job.json").write_text(job.model_dump_json())
        ended = child.run(prover.__name__, self.scratch / "job.json", scratch=self.scratch)
        runs = self._checked(self._report(ended), on=f" on {device.product}" if device else "")
        return Proof(verdict="Passed", summary=_summary(job, runs), report=_figures(runs, device))

    def _device(self) -> Device | None:
        if not self.pipeline.gpu:
            return None
        device = find_device()
        check_device(device, wanted=self.order.gpu_product, rtx=False)
        return device

    def _saved(self) -> Iterator[dict[str, str]]:
        """The samples as .npy files, by input."""
        batched = bool(self.io.max_batch_size)
        inputs = read_inputs(
            self.pipeline, field=self.order.field, stated=self.parameters.inputs, batched=batched
        )
        files = [
            {entry.name: self.inputs / entry.file for entry in sample.inputs}
            for sample in self.settings.samples or self.parameters.samples
        ]
        try:
            for number, sample in enumerate(samples.given(files, inputs)):
                paths = {name: self.scratch / f"{number}-{index}.npy" for index, name in enumerate(sample)}
                for name, path in paths.items():
                    np.save(path, sample[name], allow_pickle=False)
                yield {name: str(path) for name, path in paths.items()}
        except samples.UnreadableSampleError as error:
            where = f"{self.samples_field}[{error.sample}].inputs[{error.input_index}]"
            raise _invalid(where, error.message) from error

    def _report(self, ended: child.Ended) -> prover.Report:
        try:
            return prover.Report.model_validate_json((self.scratch / prover.REPORT).read_bytes())
        except (OSError, ValidationError) as error:
            if ended.killed:
                message = f"running {self.order.field} was killed, probably for memory: raise the limit"
                fault = Fault(code=Reason.OUT_OF_MEMORY, field="spec.build.resources", message=message)
                raise FaultError(fault) from error
            message = f"the pipeline {ended.how} while it ran on the samples. {ended.tail[-600:]}".strip()
            raise _invalid(self.samples_field, message) from error

    def _checked(self, report: prover.Report, *, on: str) -> Sequence[prover.Run]:
        if report.error:
            raise self._failed(on, self.order.field, report.error)
        for run in report.runs:
            field, at = f"{self.samples_field}[{run.sample}]", f"{on} with a batch of {run.batch}"
            if run.error:
                raise self._failed(at, field, run.error)
            for message in self._wrong(run):
                raise _invalid(field, f"{message}{at}: mend the pipeline, or the model's config.output")
        return report.runs

    def _failed(self, at: str, field: str, error: str) -> FaultError:
        if self.pipeline.gpu and _NO_MEMORY.search(error):
            message = f"the pipeline runs out of GPU memory{at}: lower maxBatchSize ({error})"
            return FaultError(Fault(code=Reason.GPU_OUT_OF_MEMORY, field=field, message=message))
        return _invalid(field, f"the pipeline fails{at}: {error}")

    def _wrong(self, run: prover.Run) -> Iterator[str]:
        """How the answers differ from what the published config says of them."""
        if len(run.outputs) != len(self.io.outputs):
            yield f"the pipeline gives {len(run.outputs)} outputs, its config has {len(self.io.outputs)}"
            return
        for index, (seen, tensor) in enumerate(zip(run.outputs, self.io.outputs, strict=True)):
            stated = self.parameters.outputs[index] if index < len(self.parameters.outputs) else {}
            if TRITON_TYPES.get(seen.dtype) != tensor.data_type:
                yield f"{tensor.name} is {TRITON_TYPES.get(seen.dtype)}, its config says {tensor.data_type}"
            if seen.uneven:
                yield f"{tensor.name} has several shapes in one batch, which Triton cannot pass on"
            shapes = [list(shape) for shape in seen.shapes if not self._fits(shape, tensor, stated)]
            if shapes:
                yield f"{tensor.name} has the shape {shapes[0]}, its config says {list(tensor.shape)}"
            if not seen.finite:
                yield f"{tensor.name} holds NaN or infinite numbers"

    def _fits(self, shape: tuple[int, ...], tensor: Tensor, stated: Any) -> bool:
        if "reshape" in stated:
            return True
        declared = tensor.shape if self.io.max_batch_size else tensor.shape[1:]
        # Stated dims may be those after the backend's split_along_outer_axis.
        return agree(declared, shape) or (bool(stated.get("dims")) and agree(declared, shape[1:]))


def _invalid(field: str, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.INVALID_PIPELINE, field=field, message=message))


def _summary(job: prover.Job, runs: Sequence[prover.Run]) -> str:
    where = "the GPU" if job.gpu else "the CPU"
    count = f"{len(job.samples)} sample{'s' if len(job.samples) > 1 else ''}"
    at = " and ".join(map(str, job.batches))
    slowest = max(runs, key=lambda run: (run.batch, run.p50_ms or run.first_ms))
    took = slowest.p50_ms or slowest.first_ms
    return f"verified on {where}: {count} at batch {at}; {took:g} ms at batch {slowest.batch}"


def _figures(runs: Sequence[prover.Run], device: Device | None) -> dict[str, Any]:
    return {
        "gpu": device.model_dump(exclude_defaults=True) if device else {},
        "runs": [run.model_dump(mode="json", exclude_defaults=True) for run in runs],
    }
