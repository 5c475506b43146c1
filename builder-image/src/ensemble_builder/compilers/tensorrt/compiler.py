"""Builds one engine from `work`/in and reads its tensors back."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from ensemble_builder.compilers import child
from ensemble_builder.compilers.building import Building
from ensemble_builder.compilers.parameters import TensorRTParameters
from ensemble_builder.compilers.tensorrt import engine
from ensemble_builder.compilers.tensorrt.report import PLAN, EngineTensor, Job, Report, fault
from ensemble_builder.compilers.work_folder import TIMING_CACHE, TIMING_CACHES
from ensemble_builder.faults import FaultError
from ensembles_api.architectures import ARCHITECTURE_LABEL, USUAL, architecture_of
from ensembles_api.contract import BuildOrder, CompileResult, ModelIO, Tensor
from ensembles_api.reasons import Reason
from ensembles_api.spec import Precision

TRITON_TYPES = {
    "FLOAT": "TYPE_FP32",
    "HALF": "TYPE_FP16",
    "BF16": "TYPE_BF16",
    "INT8": "TYPE_INT8",
    "UINT8": "TYPE_UINT8",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "BOOL": "TYPE_BOOL",
}
"""Triton's names of TensorRT's types."""
_LAYER_TYPES = {
    Precision.FP16: ("HALF",),
    Precision.BF16: ("BF16",),
    Precision.INT8: ("INT8",),
    Precision.FP8: ("FP8",),
}


def compile_engine(order: BuildOrder, *, work: Path) -> CompileResult:
    """Build `work`/out/model.plan from the ONNX file in `work`/in, external data beside it.

    Raises:
        FaultError: the model, or what is stated about it, is at fault.
        StoppedError: SIGTERM came; a timing cache may lie in `work`/out.
    """
    check_architecture(order)
    building = _EngineBuilding(order, TensorRTParameters.model_validate(order.parameters), work)
    with building.empty_scratch():
        return building.run()


def check_architecture(order: BuildOrder, machine: str = "") -> None:
    """The CPU must be of the kind that the engine's key stands for.

    Raises:
        FaultError: InvalidSpec.
    """
    found, wanted = architecture_of(machine or platform.machine()), order.architecture
    if found != wanted:
        raise fault(
            Reason.INVALID_SPEC,
            "spec.build.nodeSelector",
            f"the build ran on a CPU of kind {found or USUAL}, the engine is one for {wanted or USUAL}: set "
            f"{ARCHITECTURE_LABEL} in spec.build.nodeSelector, and in spec.serving.nodeSelector",
        )


class _EngineBuilding(Building[TensorRTParameters]):
    def run(self) -> CompileResult:
        job = Job(
            model=str(self.inputs / "model.onnx"),
            field=self.order.field,
            source_field=self._source_field,
            model_field=re.sub(r"^(spec\.models\[\d+\]).*", r"\1", self.order.field),
            gpu_product=self.order.gpu_product,
            timing_caches=str(self.work / TIMING_CACHES),
            timing_cache=str(self.outputs / TIMING_CACHE),
            parameters=self.parameters,
            plugins=self.input_paths(self.parameters.plugins),
        )
        (self.scratch / "job.json").write_text(job.model_dump_json())
        ended = child.run(engine.__name__, self.scratch / "job.json", scratch=self.scratch, passes_stop=True)
        report = self._read_report(ended)
        (self.scratch / PLAN).replace(self.outputs / PLAN)
        return CompileResult(
            files=(PLAN,),
            io=self._io(report),
            provenance=self._provenance(report),
            merged_caches=report.merged_caches,
        )

    @property
    def _source_field(self) -> str:
        return self.order.source_field or f"{self.order.field}.source"

    def _read_report(self, ended: child.Ended) -> Report:
        try:
            report = Report.model_validate_json((self.scratch / "report.json").read_bytes())
        except (OSError, ValidationError) as error:
            if ended.killed:
                message = f"building {self.order.field} was killed, probably for memory: raise the limit"
                raise fault(Reason.OUT_OF_MEMORY, "spec.build.resources", message) from error
            message = f"TensorRT {ended.how}. {ended.tail[-600:]}".strip()
            raise fault(Reason.COMPILE_FAILED, self.order.field, message) from error
        if report.fault:
            raise FaultError(report.fault)
        return report

    def _io(self, report: Report) -> ModelIO:
        lead = 1 if report.batchable else 0
        return ModelIO(
            batchable=report.batchable,
            inputs=tuple(self._tensor(tensor, lead) for tensor in report.inputs),
            outputs=tuple(self._tensor(tensor, lead) for tensor in report.outputs),
            max_batch_size=report.limit,
            profiles=tuple(map(str, range(report.profiles))) if report.profiles > 1 else (),
        )

    def _tensor(self, tensor: EngineTensor, lead: int) -> Tensor:
        if tensor.type not in TRITON_TYPES:
            raise fault(
                Reason.INVALID_MODEL,
                self._source_field,
                f"{tensor.name!r} has type {tensor.type}, which Triton cannot pass on: export it with a Cast",
            )
        # The batch is the first value of a shape tensor, not an axis of it.
        held = tuple(size - lead for size in tensor.shape)
        return Tensor(
            name=tensor.name,
            data_type=TRITON_TYPES[tensor.type],
            shape=held if tensor.is_shape_tensor else tensor.shape[lead:],
            is_shape_tensor=tensor.is_shape_tensor,
        )

    def _provenance(self, report: Report) -> dict[str, object]:
        return {
            "tensorrt": report.version,
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}".lower(),
            "gpu": report.gpu.model_dump(exclude_defaults=True) if report.gpu else {},
            "precision": self.parameters.precision.value,
            "converted": bool(report.converter),
            "converter": report.converter,
            "kept_in_fp32": report.kept,
            "layers": report.layers,
            "warnings": [*self._warnings(report), *report.warnings],
            "read_from": report.read_from,
            "seconds": report.seconds,
            "size": (self.outputs / PLAN).stat().st_size,
        }

    def _warnings(self, report: Report) -> Iterator[str]:
        """An engine that computes in more than was permitted is not passed off as less."""
        wanted = _LAYER_TYPES.get(self.parameters.precision, ()) if report.read_from == "engine" else ()
        if wanted and not any(report.layers.get(name) for name in wanted):
            found = ", ".join(f"{count} in {name}" for name, count in report.layers.items()) or "none found"
            yield f"no layer computes in {self.parameters.precision.value}: {found}"
        keep = self.parameters.keep_fp32
        if (keep.ops or keep.nodes) and not report.kept:
            yield "keepFp32 holds no layer: those nodes became constants, or only compute shapes"
