"""Builds an engine and proves it; one that is in storage already is only proven."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ensemble_builder.artifacts import layout
from ensemble_builder.compilers import child
from ensemble_builder.compilers.building import Building
from ensemble_builder.compilers.parameters import TensorRTParameters
from ensemble_builder.compilers.tensorrt import proof as prover
from ensemble_builder.compilers.tensorrt.compiler import compile_engine
from ensemble_builder.compilers.tensorrt.proof_settings import ProofSettings
from ensemble_builder.compilers.tensorrt.report import PLAN, fault
from ensemble_builder.compilers.work_folder import BUILT, OUTPUTS, RECORD
from ensemble_builder.faults import FaultError
from ensembles_api.contract import ArtifactRecord, BuildOrder, CompileResult, Fault, ModelIO, Proof
from ensembles_api.reasons import Reason


def compile_proven(order: BuildOrder, *, work: Path) -> CompileResult:
    """The engine in `work`/out with its proof, or only the proof of the one in `work`/built.

    Raises:
        FaultError: as `compile_engine`; AccuracyOutOfTolerance.
        StoppedError: SIGTERM came.
    """
    stored = work / BUILT / PLAN
    if stored.exists():
        record = ArtifactRecord.model_validate_json((work / RECORD).read_bytes())
        try:
            return CompileResult(proof=_prove(order, stored, record.io, work))
        except FaultError as error:
            raise FaultError(of_stored(order, error.fault)) from error
    result = compile_engine(order, work=work)
    if order.proof is None or result.io is None:
        return result
    proof = _prove(order, work / OUTPUTS / PLAN, result.io, work)
    return result.model_copy(update={"proof": proof})


def of_stored(order: BuildOrder, fault: Fault) -> Fault:
    """A fault of an engine that was in storage: one that does not even run would be found there for ever."""
    if fault.code is not Reason.COMPILE_FAILED:
        return fault
    record = layout.artifact(order.kind, order.key)
    cure = (
        f"it is the one in storage: delete {record} there and set ensembles.dev/requestedAt to build it anew"
    )
    return fault.model_copy(update={"message": f"{fault.message}; {cure}"})


def _prove(order: BuildOrder, plan: Path, io: ModelIO, work: Path) -> Proof:
    building = Building(order, TensorRTParameters.model_validate(order.parameters), work)
    with building.empty_scratch() as scratch:
        job = _job(building, plan, io)
        (scratch / "job.json").write_text(job.model_dump_json())
        ended = child.run(prover.__name__, scratch / "job.json", scratch=scratch, passes_stop=True)
        report = _report(order, scratch / prover.REPORT, ended)
    if report.fault:
        raise FaultError(report.fault)
    if report.proof is None:
        raise AssertionError("a report has a fault or a proof")
    return report.proof


def _job(building: Building[TensorRTParameters], plan: Path, io: ModelIO) -> prover.ProofJob:
    order, parameters = building.order, building.parameters
    return prover.ProofJob(
        plan=str(plan),
        model=str(building.inputs / "model.onnx"),
        samples=str(building.inputs),
        field=order.field,
        precision=parameters.precision,
        batching=io.batchable and bool(io.max_batch_size),
        gpu_product=order.gpu_product,
        settings=ProofSettings.model_validate(order.proof.settings if order.proof else {}),
        tensorrt_version=parameters.tensorrt_version,
        plugins=building.input_paths(parameters.plugins),
    )


def _report(order: BuildOrder, file: Path, ended: child.Ended) -> prover.ProofReport:
    try:
        return prover.ProofReport.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        if ended.killed:
            message = f"verifying {order.field} was killed, probably for memory: raise the limit"
            raise fault(Reason.OUT_OF_MEMORY, "spec.build.resources", message) from error
        message = f"running the engine {ended.how}. {ended.tail[-600:]}".strip()
        raise fault(Reason.COMPILE_FAILED, order.field, message) from error
