"""Proves an engine on the GPU before it is stored. A process of its own: engines are native code.

    python -m ensemble_builder.compilers.tensorrt.proof JOB

JOB is a JSON file (`ProofJob`); proof.json (`ProofReport`) is written beside it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ensemble_builder.compilers.tensorrt import stopping
from ensemble_builder.compilers.tensorrt.accuracy import (
    Array,
    Tolerances,
    compare,
    incomparable,
    overall,
    tells_apart,
)
from ensemble_builder.compilers.tensorrt.cuda import CudaDevice, CudaError, CudaOutOfMemoryError
from ensemble_builder.compilers.tensorrt.device import check_device, find_device
from ensemble_builder.compilers.tensorrt.failures import run_failure
from ensemble_builder.compilers.tensorrt.library import load_plugins, load_tensorrt, logger_of
from ensemble_builder.compilers.tensorrt.number_types import rounded
from ensemble_builder.compilers.tensorrt.proof_report import (
    Row,
    SpeedRow,
    failure,
    inconclusive,
    summary,
    table,
)
from ensemble_builder.compilers.tensorrt.proof_settings import ProofSettings
from ensemble_builder.compilers.tensorrt.reference import OnnxReference, ReferenceUnavailableError
from ensemble_builder.compilers.tensorrt.runner import RunError, Runner, Speed
from ensemble_builder.compilers.tensorrt.sample_files import read_samples
from ensemble_builder.compilers.tensorrt.samples import (
    ITEMS,
    EngineInput,
    Trial,
    UnfitSampleError,
    given,
    repeated,
    seeded,
)
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Document, Fault, Proof
from ensembles_api.reasons import Reason
from ensembles_api.spec import Precision, Reference

REPORT = "proof.json"


class ProofJob(Document):
    """`plan`, `model`: files. `samples`: the folder of the samples' files. `field`: of the tensorrt member.
    `batching`: the first axis of every tensor is the batch. gpu_product: as of the order.
    """

    plan: str
    model: str
    samples: str
    field: str
    precision: Precision
    batching: bool
    settings: ProofSettings
    gpu_product: str = ""
    tensorrt_version: str = ""
    plugins: tuple[str, ...] = ()


class ProofReport(Document):
    fault: Fault | None = None
    proof: Proof | None = None


def main() -> None:
    stopping.end_at_once()
    path = Path(sys.argv[1])
    job = ProofJob.model_validate_json(path.read_bytes())
    try:
        report = ProofReport(proof=prove(job))
    except FaultError as error:
        report = ProofReport(fault=error.fault)
    path.with_name(REPORT).write_text(report.model_dump_json())


def prove(job: ProofJob) -> Proof:
    """Run the engine and compare.

    Raises:
        FaultError: AccuracyOutOfTolerance; InvalidSpec for samples that do not fit; GPUMismatch;
            GPUOutOfMemory, or CompileFailed, where the engine does not run.
    """
    began = time.monotonic()
    tensorrt = load_tensorrt(job.tensorrt_version)
    # TensorRT-RTX builds without a GPU, and not for every GPU: the only case in which nothing can be run.
    optional = "rtx" in tensorrt.__name__
    gpu = find_device()
    check_device(gpu, wanted=job.gpu_product, rtx=optional)
    load_plugins(job.plugins, field=job.field)
    logger = logger_of(tensorrt)
    tensorrt.init_libnvinfer_plugins(logger, "")
    made_with: dict[str, object] = {
        "tensorrt": str(tensorrt.__version__),
        "gpu": gpu.model_dump(exclude_defaults=True) if gpu else {},
    }
    try:
        with CudaDevice() as device:
            runner = Runner(tensorrt, logger, Path(job.plan).read_bytes(), device)
            trying = Trying(job, runner, made_with)
            trying.run_all()
            return trying.proof(seconds=round(time.monotonic() - began, 1))
    except (CudaError, RunError) as error:
        full = isinstance(error, CudaOutOfMemoryError)
        if optional and not full:
            return skipped(f"TensorRT-RTX could not run the engine here: {error}")
        raise run_failure(str(error), list(logger.errors), field=job.field, full=full) from error


def skipped(why: str) -> Proof:
    return Proof(verdict="Skipped", summary=f"not verified: {why}", notes=(why,))


def _fault(job: ProofJob, code: Reason, message: str, field: str = "") -> FaultError:
    return FaultError(Fault(code=code, field=f"{job.field}{field}", message=message))


class Engine(Protocol):
    """What is tried: a `Runner`."""

    @property
    def inputs(self) -> Sequence[EngineInput]: ...

    @property
    def output_types(self) -> Mapping[str, np.dtype[np.generic]]: ...

    @property
    def memory(self) -> Mapping[str, int]: ...

    def stored_type(self, name: str) -> str: ...

    def run(self, inputs: Mapping[str, Array], *, profile: int) -> Mapping[str, Array]: ...

    def measure(self, inputs: Mapping[str, Array], *, profile: int, batch: int) -> Speed: ...


@dataclass(frozen=True)
class _Answers:
    """Of the reference. `items`: for the trial's items. `expected`: what the engine should answer; None for
    an output whose first axis is not the batch, which cannot be repeated.
    """

    items: Mapping[str, Array]
    expected: Mapping[str, Array | None]

    @classmethod
    def repeating(cls, trial: Trial, items: Mapping[str, Array]) -> _Answers:
        """For a batch that repeats the items; a small one is asked for as it is."""
        if trial.batch is None:
            return cls(items, items)
        batch, count = trial.batch, trial.count
        expected = {
            name: repeated(values, batch) if values.shape[:1] == (count,) else None
            for name, values in items.items()
        }
        return cls(items, expected)

    def each(self, trial: Trial) -> list[Mapping[str, Array]]:
        """The answers for each item."""
        if trial.batch is None:
            return [self.items]
        whole = {name: values for name, values in self.items.items() if values.shape[:1] == (trial.count,)}
        if not whole:
            return []
        return [{name: values[index] for name, values in whole.items()} for index in range(trial.count)]


@dataclass
class Trying:
    """The runs of one engine, and what they gave so far. `made_with`: versions and GPU, for the report."""

    job: ProofJob
    runner: Engine
    made_with: dict[str, object] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    speeds: list[SpeedRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    memory: Mapping[str, int] = field(default_factory=dict)

    def run_all(self) -> None:
        reference = self._reference()
        seen: dict[tuple[int, str], list[Mapping[str, Array]]] = {}
        for trial in self._trials():
            found = self.runner.run(trial.inputs(), profile=trial.profile)
            answers = self._answers(reference, trial)
            if answers is not None:
                self._compare(trial, answers, found)
                seen.setdefault((trial.profile, trial.bound), []).extend(answers.each(trial))
            self._measure(trial)
        if any(len(answers) > 1 and not tells_apart(answers) for answers in seen.values()):
            self.notes.append(
                "the reference answers every input alike, which proves little: give typical inputs in "
                "verification.samples"
            )
        self.memory = self.runner.memory

    def _trials(self) -> Iterator[Trial]:
        job, inputs = self.job, self.runner.inputs
        # The values of a shape tensor speak of the whole batch: nothing can be repeated.
        batching = job.batching and all(part.values is None for entry in inputs for part in entry.ranges)
        if not job.settings.samples:
            return seeded(inputs, batching=batching)
        samples = read_samples(
            job.settings.samples,
            inputs,
            self.runner.output_types,
            folder=Path(job.samples),
            field=f"{job.field}.verification.samples",
            batching=batching,
            answers=job.settings.reference is Reference.SAMPLES,
        )
        try:
            return iter(list(given(inputs, samples, batching=batching)))
        except UnfitSampleError as error:
            raise FaultError(
                Fault(
                    code=Reason.INVALID_SPEC,
                    field=error.at,
                    message=f"{error}: change the sample or a profile",
                )
            ) from error

    def _reference(self) -> OnnxReference | None:
        if self.job.settings.reference is not Reference.ONNX_RUNTIME:
            return None
        try:
            reference = OnnxReference(Path(self.job.model))
        except ReferenceUnavailableError as error:
            self._incomparable(error)
            return None
        self.made_with["onnxruntime"] = reference.version
        return reference

    def _incomparable(self, error: ReferenceUnavailableError) -> None:
        note = f"{error}; give samples with outputs and set verification.reference to Samples"
        if note not in self.notes:
            self.notes.append(note)

    def _answers(self, reference: OnnxReference | None, trial: Trial) -> _Answers | None:
        if self.job.settings.reference is Reference.SAMPLES:
            return _Answers.repeating(trial, trial.expected) if trial.expected else None
        if reference is None:
            return None
        try:
            items = reference.answers(self._rounded(trial.items))
            if trial.batch is None or trial.batch > ITEMS:
                return _Answers.repeating(trial, items)
            return _Answers(items, dict(reference.answers(self._rounded(trial.inputs()))))
        except ReferenceUnavailableError as error:
            self._incomparable(error)
            return None

    def _rounded(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: rounded(values, self.runner.stored_type(name)) for name, values in inputs.items()}

    def _compare(self, trial: Trial, answers: _Answers, found: Mapping[str, Array]) -> None:
        tolerances: Tolerances = self.job.settings.tolerances(self.job.precision)
        for name, values in found.items():
            if name not in answers.items:
                self.notes.append(f"the reference has no output {name!r}")
                continue
            limit = tolerances.limit(name, values.dtype)
            expected = answers.expected[name]
            if expected is None and any(row.result.output == name for row in self.rows):
                continue  # compared at a smaller batch
            result = incomparable(name, limit) if expected is None else compare(name, expected, values, limit)
            self.rows.append(Row(profile=trial.profile, bound=trial.bound, batch=trial.batch, result=result))

    def _measure(self, trial: Trial) -> None:
        done = {(row.profile, row.bound) for row in self.speeds}
        if (trial.profile, trial.bound) in done:
            return
        speed = self.runner.measure(trial.inputs(), profile=trial.profile, batch=trial.batch or 1)
        self.speeds.append(SpeedRow(profile=trial.profile, bound=trial.bound, batch=trial.batch, speed=speed))

    def proof(self, *, seconds: float) -> Proof:
        """What was found.

        Raises:
            FaultError: AccuracyOutOfTolerance.
        """
        verdict = overall(row.result.verdict for row in self.rows)
        for line in table(self.rows, self.speeds):
            print(line, flush=True)  # noqa: T201 - the Job's log
        if verdict == "Failed":
            raise _fault(self.job, Reason.ACCURACY_OUT_OF_TOLERANCE, failure(self.rows), ".verification")
        notes = list(dict.fromkeys([*self.notes, *inconclusive(self.rows)]))
        compared = self.job.settings.reference is not Reference.NONE
        if compared and (notes or verdict == "Skipped"):
            verdict = "Inconclusive"
        return Proof(
            verdict=verdict,
            summary=summary(verdict, self.rows, self.speeds),
            notes=tuple(notes if compared else ("verification.reference is None: nothing was compared",)),
            report={
                "reference": self.job.settings.reference.value,
                "table": [row.model_dump(mode="json", exclude_defaults=True) for row in self.rows],
                "speed": [row.model_dump(mode="json") for row in self.speeds],
                "memory": dict(self.memory),
                "seconds": seconds,
                **self.made_with,
            },
        )


if __name__ == "__main__":
    main()
