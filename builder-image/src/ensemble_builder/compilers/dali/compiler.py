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
from ensemble_builder.compilers.building import Building
from ensemble_builder.compilers.dali import author, samples, twin
from ensemble_builder.compilers.dali.inputs import Input, check_stated, read_inputs
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
    with compilation.empty_scratch():
        result = compilation.run()
    seconds = round(time.monotonic() - began, 1)
    return result.model_copy(update={"provenance": {**result.provenance, "seconds": seconds}})


def serialised(order: BuildOrder, *, work: Path) -> bytes:
    """The pipeline of `work`/in/pipeline.py as DALI serialises it here.

    Raises:
        FaultError: as `compile_pipeline`.
    """
    compilation = _Compilation(order, _parameters(order), work)
    with compilation.empty_scratch():
        return compilation.serialised()[1]


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
class _Tried:
    """A sample, and what came out of it; no outputs where the CPU could not run it."""

    values: samples.Values
    outputs: tuple[twin.Observed, ...] = ()


class _Compilation(Building[DaliParameters]):
    @property
    def field(self) -> str:
        """Path of the model's dali in the resource."""
        return self.order.field if self.order.field.endswith(".dali") else f"{self.order.field}.dali"

    @property
    def config_field(self) -> str:
        return re.sub(r"^(spec\.models\[\d+\]).*", r"\1.config", self.order.field)

    @property
    def source(self) -> bytes:
        return (self.inputs / SOURCE_FILE).read_bytes()

    def run(self) -> CompileResult:
        report, data = self.serialised()
        pipeline = parse(data)
        limit = self._max_batch_size(pipeline)
        check_stated(pipeline, self.parameters.inputs, config_field=self.config_field)
        inputs = read_inputs(pipeline, field=self.field, stated=self.parameters.inputs, batched=limit > 0)
        tried, finding = self._trial(pipeline, data, inputs)
        outputs = read_outputs(
            pipeline,
            finding,
            stated=self.parameters.outputs,
            config_field=self.config_field,
            batched=limit > 0,
        )
        io = _model_io(pipeline, inputs, outputs, limit=limit)
        name, content = ("dali.py", self.source) if self._autoserialize else ("model.dali", data)
        (self.outputs / name).write_bytes(content)
        return CompileResult(
            files=(name,),
            io=io,
            samples=self._publish(tried, inputs, outputs),
            provenance=self._provenance(report, pipeline, finding, size=len(content)),
        )

    @property
    def _autoserialize(self) -> bool:
        return self.parameters.mode == "Autoserialize"

    @property
    def _plugins(self) -> tuple[str, ...]:
        return self.input_paths(self.parameters.plugins)

    def serialised(self) -> tuple[author.Report, bytes]:
        """What the user's file says of the pipeline, and DALI's serialisation of it."""
        folder = self.scratch / "author"
        folder.mkdir()
        (folder / SOURCE_FILE).write_bytes(self.source)
        job = author.Job(
            source=str(folder / SOURCE_FILE),
            field=self.field,
            function=self.parameters.function,
            args=self.parameters.args,
            autoserialize=self._autoserialize,
            threads=self.parameters.threads,
            max_batch_size=self.parameters.max_batch_size,
            dali_version=self.parameters.dali_version,
            plugins=self._plugins,
        )
        (folder / "job.json").write_text(job.model_dump_json())
        ended = child.run(author.__name__, folder / "job.json", scratch=folder)
        try:
            report = author.Report.model_validate_json((folder / "report.json").read_bytes())
            data = b"" if report.fault else (folder / "pipeline.dali").read_bytes()
        except (OSError, ValidationError) as error:
            raise self._died(ended) from error
        if report.fault:
            raise FaultError(report.fault)
        try:
            parse(data)
        except DecodeError as error:
            raise self._invalid(
                "source", "the file replaced what DALI serialised; leave that to DALI"
            ) from error
        return report, data

    def _died(self, ended: child.Ended) -> FaultError:
        if ended.killed:
            return FaultError(
                Fault(
                    code=Reason.OUT_OF_MEMORY,
                    field="spec.build.resources",
                    message=f"running {self.field}.source was killed, probably for memory: raise the limit",
                )
            )
        what = f"process {ended.how}. {ended.tail[-600:]}".strip()
        if not (self.scratch / "author" / author.STARTED).exists():
            fault = Fault(code=Reason.COMPILE_FAILED, field=self.field, message=f"the compiler's {what}")
            return FaultError(fault)
        return self._invalid("source", f"the file's {what}")

    def _invalid(self, name: str, message: str) -> FaultError:
        return FaultError(Fault(code=Reason.INVALID_PIPELINE, field=f"{self.field}.{name}", message=message))

    def _max_batch_size(self, pipeline: SerializedPipeline) -> int:
        stated = self.parameters.max_batch_size
        if not pipeline.decoupled:
            return pipeline.batch_size if stated is None else stated
        if stated:
            raise FaultError(
                Fault(
                    code=Reason.INVALID_PIPELINE,
                    field=f"{self.config_field.removesuffix('.config')}.maxBatchSize",
                    message="fn.inputs operators answer one request with several responses, which the "
                    "DALI backend does without batching only: set maxBatchSize to 0; batch_size of "
                    "@pipeline_def is the number of sequences in a response",
                )
            )
        return 0

    def _trial(
        self, pipeline: SerializedPipeline, data: bytes, inputs: Sequence[Input]
    ) -> tuple[tuple[_Tried, ...], Finding]:
        """Run the user's samples and, where they do not tell all, a generated pair.

        Returns the samples to publish (the user's, if there are any) and the finding. What cannot run on the
        CPU is a finding, except where the whole pipeline is made for the CPU and refuses the user's sample.
        """
        (self.scratch / "twin.dali").write_bytes(cpu_twin(data))
        given = self._given(inputs)
        own, why_not = self._try(given, decoupled=pipeline.decoupled) if given else ((), "")
        if why_not and not pipeline.gpu:
            where = next(index for index, tried in enumerate((*own, _Tried({}))) if not tried.outputs)
            raise self._invalid(f"samples[{where}]", f"the pipeline does not take it: {why_not}")
        ran = [tried for tried in own if tried.outputs]
        varied = len({_sizes(tried.values) for tried in ran}) > 1
        pair: tuple[_Tried, ...] = ()
        if not varied and not (why_not and not ran):
            pair, why_not = self._try_generated(inputs, decoupled=pipeline.decoupled)
        finding = Finding(
            samples=tuple(tried.outputs for tried in (*ran, *pair)),
            varied=varied or bool(pair),
            why_not=why_not,
        )
        return own or pair, finding

    def _try_generated(self, inputs: Sequence[Input], *, decoupled: bool) -> tuple[tuple[_Tried, ...], str]:
        why_not = ""
        for pair in samples.generated(inputs):
            tried, refusal = self._try(pair, decoupled=decoupled)
            if not refusal:
                return tried, ""
            why_not = why_not or refusal
            if not tried:
                break
        return (), f"made-up samples do not run: {why_not}"

    def _try(self, values: Sequence[samples.Values], *, decoupled: bool) -> tuple[tuple[_Tried, ...], str]:
        """The samples with their outputs, none where the pipeline cannot be built; and the first error."""
        outcome = self._observe(values, decoupled=decoupled)
        tried = tuple(
            _Tried(sample, seen.outputs) for sample, seen in zip(values, outcome.samples, strict=False)
        )
        refusals = (sample.error for sample in outcome.samples if sample.error)
        return tried, outcome.error or next(refusals, "")

    def _given(self, inputs: Sequence[Input]) -> list[samples.Values]:
        files = [
            {entry.name: self.inputs / entry.file for entry in sample.inputs}
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
        job = twin.Job(
            pipeline=str(self.scratch / "twin.dali"),
            samples=files,
            decoupled=decoupled,
            plugins=self._plugins,
        )
        (folder / "job.json").write_text(job.model_dump_json())
        ended = child.run(twin.__name__, folder / "job.json", scratch=folder, timeout=TWIN_SECONDS)
        try:
            return twin.Outcome.model_validate_json((folder / "outcome.json").read_bytes())
        except (OSError, ValidationError) as error:
            if ended.killed:
                raise self._died(ended) from error
            return twin.Outcome(error=f"the trial on the CPU {ended.how}")

    def _publish(
        self, tried: Sequence[_Tried], inputs: Sequence[Input], outputs: Sequence[Tensor]
    ) -> tuple[SampleRequest, ...]:
        """Samples that fit what is published, as requests with their files under out/samples."""
        return tuple(
            SampleRequest(
                inputs=tuple(
                    self._sample_tensor(sample.values, entry, f"{number}-{index}.bin")
                    for index, entry in enumerate(inputs)
                )
            )
            for number, sample in enumerate(tried)
            if sum(value.nbytes for value in sample.values.values()) <= PUBLISHED_SAMPLE_BYTES
            and all(map(fits, sample.outputs, outputs))
        )

    def _sample_tensor(self, values: samples.Values, entry: Input, file: str) -> SampleTensor:
        folder = self.outputs / "samples"
        folder.mkdir(exist_ok=True)
        value = values[entry.name]
        (folder / file).write_bytes(value.tobytes())
        return SampleTensor(
            name=entry.name, data_type=entry.data_type, shape=(1, *value.shape), file=f"samples/{file}"
        )

    def _provenance(
        self, report: author.Report, pipeline: SerializedPipeline, finding: Finding, *, size: int
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
            "cpu_trial": finding.why_not or f"{len(finding.samples)} samples",
        }


def _sizes(values: samples.Values) -> tuple[tuple[int, ...], ...]:
    return tuple(value.shape for value in values.values())


def _model_io(
    pipeline: SerializedPipeline,
    inputs: Sequence[Input],
    outputs: Sequence[Tensor],
    *,
    limit: int,
) -> ModelIO:
    """The backend's view: without batching every shape begins with the batch axis (config_tools.cc)."""
    alone = {entry.name for entry in pipeline.inputs if not entry.is_external_source}

    def lead(name: str) -> tuple[int, ...]:
        return () if limit else (1,) if name in alone else (-1,)

    return ModelIO(
        batchable=limit > 0,
        inputs=tuple(
            Tensor(name=entry.name, data_type=entry.data_type, shape=(*lead(entry.name), *entry.shape))
            for entry in inputs
        ),
        outputs=tuple(
            tensor if limit else tensor.model_copy(update={"shape": (-1, *tensor.shape)})
            for tensor in outputs
        ),
        max_batch_size=limit,
        decoupled=pipeline.decoupled,
    )
