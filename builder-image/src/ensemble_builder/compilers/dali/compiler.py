"""Compiles one pipeline. User code runs in child processes only; this one reads what they leave."""

from __future__ import annotations

import platform
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from ensemble_builder.compilers import child
from ensemble_builder.compilers.dali import author, samples, twin
from ensemble_builder.compilers.dali.inputs import Input, read_inputs
from ensemble_builder.compilers.dali.outputs import Finding, fits, read_outputs
from ensemble_builder.compilers.dali.serialized import SerializedPipeline, cpu_twin, parse
from ensemble_builder.compilers.parameters import DaliParameters
from ensemble_builder.faults import FaultError
from ensembles_api.contract import (
    BuildOrder,
    CompileResult,
    Fault,
    ModelIO,
    SampleRequest,
    SampleTensor,
    Tensor,
)
from ensembles_api.reasons import Reason

SOURCE_FILE = "pipeline.py"
TWIN_SECONDS = 300
"""Longest a trial run on the CPU may take; it only informs, so that its end is not a failure."""
PUBLISHED_SAMPLE_BYTES = 1 << 20
"""Larger samples stay with the user: they would travel with every revision."""


def compile_pipeline(order: BuildOrder, *, work: Path) -> CompileResult:
    """Compile `work`/in/pipeline.py into `work`/out.

    Raises:
        FaultError: the pipeline, or what is stated about it, is at fault.
    """
    began = time.monotonic()
    compilation = _Compilation(order, _parameters(order), work)
    try:
        result = compilation.run()
    finally:
        shutil.rmtree(compilation.scratch, ignore_errors=True)
    seconds = round(time.monotonic() - began, 1)
    return result.model_copy(update={"provenance": {**result.provenance, "seconds": seconds}})


def _parameters(order: BuildOrder) -> DaliParameters:
    try:
        return DaliParameters.model_validate(order.parameters)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FaultError(
            Fault(
                code=Reason.COMPILE_FAILED,
                field=order.field,
                message=f"parameter {where} of the order: {first['msg']}; use images of one release",
            )
        ) from error


@dataclass(frozen=True)
class _Trial:
    """Samples that ran on the CPU and what came out of each."""

    values: tuple[samples.Values, ...]
    finding: Finding


@dataclass(frozen=True)
class _Compilation:
    order: BuildOrder
    parameters: DaliParameters
    work: Path

    @property
    def scratch(self) -> Path:
        return self.work / "scratch"

    @property
    def field(self) -> str:
        """Path of the model's dali in the resource."""
        return self.order.field if self.order.field.endswith(".dali") else f"{self.order.field}.dali"

    @property
    def config_field(self) -> str:
        return re.sub(r"^(spec\.models\[\d+\]).*", r"\1.config", self.order.field)

    def run(self) -> CompileResult:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        source = (self.work / "in" / SOURCE_FILE).read_bytes()
        report, data = self._author(source)
        pipeline = parse(data)
        decoupled = any(not entry.is_external_source for entry in pipeline.inputs)
        limit = self._max_batch_size(pipeline, decoupled=decoupled)
        inputs = read_inputs(pipeline, field=self.field, stated=self.parameters.inputs, batched=limit > 0)
        trial = self._trial(data, inputs, decoupled=decoupled)
        outputs = read_outputs(
            pipeline,
            trial.finding,
            stated=self.parameters.outputs,
            config_field=self.config_field,
            batched=limit > 0,
        )
        io = _model_io(pipeline, inputs, outputs, limit=limit, decoupled=decoupled)
        name, content = ("dali.py", source) if self._autoserialize else ("model.dali", data)
        (self.work / "out" / name).write_bytes(content)
        return CompileResult(
            files=(name,),
            io=io,
            samples=self._publish(trial, inputs, outputs),
            provenance=self._provenance(report, pipeline, trial, size=len(content)),
        )

    @property
    def _autoserialize(self) -> bool:
        return self.parameters.mode == "Autoserialize"

    def _author(self, source: bytes) -> tuple[author.Report, bytes]:
        folder = self.scratch / "author"
        folder.mkdir()
        (folder / SOURCE_FILE).write_bytes(source)
        job = author.Job(
            source=str(folder / SOURCE_FILE),
            field=self.field,
            function=self.parameters.function,
            args=self.parameters.args,
            autoserialize=self._autoserialize,
            threads=self.parameters.threads,
            max_batch_size=self.parameters.max_batch_size,
            dali_version=self.parameters.dali_version,
        )
        (folder / "job.json").write_text(job.model_dump_json())
        ended = child.run(author.__name__, folder / "job.json", scratch=folder)
        try:
            report = author.Report.model_validate_json((folder / "report.json").read_bytes())
            data = b"" if report.fault else (folder / "pipeline.dali").read_bytes()
        except (OSError, ValidationError) as error:
            raise self._invalid("source", f"the file's process {ended.how}: {ended.tail[-600:]}") from error
        if report.fault:
            raise FaultError(report.fault)
        try:
            parse(data)
        except DecodeError as error:
            raise self._invalid(
                "source", "the file replaced what DALI serialised; leave that to DALI"
            ) from error
        return report, data

    def _invalid(self, name: str, message: str) -> FaultError:
        return FaultError(Fault(code=Reason.INVALID_PIPELINE, field=f"{self.field}.{name}", message=message))

    def _max_batch_size(self, pipeline: SerializedPipeline, *, decoupled: bool) -> int:
        stated = self.parameters.max_batch_size
        if not decoupled:
            return pipeline.batch_size if stated is None else stated
        if stated:
            raise FaultError(
                Fault(
                    code=Reason.INVALID_PIPELINE,
                    field=f"{self.config_field.removesuffix('.config')}.maxBatchSize",
                    message="fn.inputs operators answer one request with several responses, which the "
                    "DALI backend does without batching only: set maxBatchSize to 0; batch_size of @pipeline_def "
                    "is the number of sequences in a response",
                )
            )
        return 0

    def _trial(self, data: bytes, inputs: Sequence[Input], *, decoupled: bool) -> _Trial:
        """Run the user's samples and a generated pair; what cannot run is a finding, not a failure."""
        (self.scratch / "twin.dali").write_bytes(cpu_twin(data))
        own = tuple(self._given(inputs))
        own_outcome = self._observe(own, decoupled=decoupled) if own else twin.Outcome()
        if own_outcome.error:
            return _Trial((), Finding(why_not=own_outcome.error))
        ran = [
            (values, outcome.outputs)
            for values, outcome in zip(own, own_outcome.samples, strict=True)
            if not outcome.error
        ]
        refused = next((outcome.error for outcome in own_outcome.samples if outcome.error), "")
        if own and not ran:
            return _Trial(own, Finding(why_not=f"on the CPU, the samples end with: {refused}"))
        varied = len({_sizes(values) for values, _ in ran}) > 1
        why_not = ""
        if not varied:
            pair, why_not = self._generated(inputs, decoupled=decoupled)
            ran, varied = [*ran, *pair], varied or bool(pair)
        return _Trial(
            own or tuple(values for values, _ in ran),
            Finding(samples=tuple(outputs for _, outputs in ran), varied=varied, why_not=why_not),
        )

    def _generated(
        self, inputs: Sequence[Input], *, decoupled: bool
    ) -> tuple[list[tuple[samples.Values, tuple[twin.Observed, ...]]], str]:
        why_not = ""
        for pair in samples.generated(inputs):
            outcome = self._observe(pair, decoupled=decoupled)
            if outcome.error:
                return [], outcome.error
            if not any(sample.error for sample in outcome.samples):
                return [
                    (values, sample.outputs) for values, sample in zip(pair, outcome.samples, strict=True)
                ], ""
            why_not = why_not or next(sample.error for sample in outcome.samples if sample.error)
        return [], f"on the CPU, generated samples end with: {why_not}"

    def _given(self, inputs: Sequence[Input]) -> list[samples.Values]:
        files = [
            {entry.name: self.work / "in" / entry.file for entry in sample.inputs}
            for sample in self.parameters.samples
        ]
        try:
            return list(samples.given(files, inputs))
        except samples.UnreadableSampleError as error:
            where = f"samples[{error.sample}].inputs[{error.input_index}]"
            raise self._invalid(where, error.message) from error

    def _observe(self, values: Sequence[samples.Values], *, decoupled: bool) -> twin.Outcome:
        folder = self.scratch / "twin"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        files = tuple(
            {name: str(folder / f"{number}-{index}.npy") for index, name in enumerate(sample)}
            for number, sample in enumerate(values)
        )
        for paths, sample in zip(files, values, strict=True):
            for name, path in paths.items():
                np.save(path, sample[name], allow_pickle=False)
        job = twin.Job(pipeline=str(self.scratch / "twin.dali"), samples=files, decoupled=decoupled)
        (folder / "job.json").write_text(job.model_dump_json())
        ended = child.run(twin.__name__, folder / "job.json", scratch=folder, timeout=TWIN_SECONDS)
        try:
            return twin.Outcome.model_validate_json((folder / "outcome.json").read_bytes())
        except (OSError, ValidationError):
            return twin.Outcome(error=f"the trial on the CPU {ended.how}")

    def _publish(
        self, trial: _Trial, inputs: Sequence[Input], outputs: Sequence[Tensor]
    ) -> tuple[SampleRequest, ...]:
        """Samples that are known to fit what is published, as requests with their files under out/samples."""
        requests = []
        for number, values in enumerate(trial.values):
            seen = trial.finding.samples[number] if number < len(trial.finding.samples) else ()
            size = sum(value.nbytes for value in values.values())
            if size > PUBLISHED_SAMPLE_BYTES or not all(map(fits, seen, outputs)):
                continue
            requests.append(
                SampleRequest(
                    inputs=tuple(
                        self._sample_tensor(values, entry, f"{number}-{index}.bin")
                        for index, entry in enumerate(inputs)
                    )
                )
            )
        return tuple(requests)

    def _sample_tensor(self, values: samples.Values, entry: Input, file: str) -> SampleTensor:
        folder = self.work / "out" / "samples"
        folder.mkdir(exist_ok=True)
        value = values[entry.name]
        (folder / file).write_bytes(value.tobytes())
        return SampleTensor(
            name=entry.name, data_type=entry.data_type, shape=(1, *value.shape), file=f"samples/{file}"
        )

    def _provenance(
        self, report: author.Report, pipeline: SerializedPipeline, trial: _Trial, *, size: int
    ) -> dict[str, Any]:
        # With Autoserialize the server runs the file, and a file that names a device needs that device.
        device = report.own_device if self._autoserialize else None
        return {
            "dali": report.dali_version,
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}".lower(),
            "function": report.function,
            "size": size,
            "gpu_operators": pipeline.gpu or device is not None,
            "operators": [f"{operator.schema} {operator.device}" for operator in pipeline.operators],
            "cpu_trial": trial.finding.why_not or f"{len(trial.finding.samples)} samples",
        }


def _sizes(values: samples.Values) -> tuple[tuple[int, ...], ...]:
    return tuple(value.shape for value in values.values())


def _model_io(
    pipeline: SerializedPipeline,
    inputs: Sequence[Input],
    outputs: Sequence[Tensor],
    *,
    limit: int,
    decoupled: bool,
) -> ModelIO:
    """The backend's view: without batching the batch axis is part of every shape (dali_backend config_tools)."""
    alone = {entry.name for entry in pipeline.inputs if not entry.is_external_source}
    lead = {
        name: () if limit else (1,) if name in alone else (-1,) for name in (entry.name for entry in inputs)
    }
    return ModelIO(
        batchable=limit > 0,
        inputs=tuple(
            Tensor(name=entry.name, data_type=entry.data_type, shape=(*lead[entry.name], *entry.shape))
            for entry in inputs
        ),
        outputs=tuple(
            tensor if limit else tensor.model_copy(update={"shape": (-1, *tensor.shape)})
            for tensor in outputs
        ),
        max_batch_size=limit,
        decoupled=decoupled,
    )
