"""Builds an engine with TensorRT's Python API. A process of its own: parsers and tactics are native code.

    python -m ensemble_builder.compilers.tensorrt.engine JOB

JOB is a JSON file (`Job`); report.json (`Report`) and, without a fault, model.plan are written beside it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from ensemble_builder.compilers.tensorrt.device import gpu_name
from ensemble_builder.compilers.tensorrt.library import load_tensorrt, logger_of
from ensemble_builder.compilers.tensorrt.network import inputs_of, outputs_of, parsed, refuse_shape_tensors
from ensemble_builder.compilers.tensorrt.profiles import NetworkTensor, Plan, Wanted, plan
from ensemble_builder.compilers.tensorrt.readback import read_back
from ensemble_builder.compilers.tensorrt.report import PLAN, Job, Report, fault
from ensemble_builder.compilers.tensorrt.settings import builder_config
from ensemble_builder.faults import FaultError
from ensembles_api.reasons import Reason


def main() -> None:
    path = Path(sys.argv[1])
    job = Job.model_validate_json(path.read_bytes())
    try:
        report = _build(job, into=path.parent)
    except FaultError as error:
        report = Report(fault=error.fault)
    path.with_name("report.json").write_text(report.model_dump_json())


def _build(job: Job, *, into: Path) -> Report:
    tensorrt = load_tensorrt(job.parameters.tensorrt_version)
    logger = logger_of(tensorrt)
    tensorrt.init_libnvinfer_plugins(logger, "")
    builder = tensorrt.Builder(logger)
    network = parsed(tensorrt, builder, logger, job)
    refuse_shape_tensors(network, job)
    ranges = _ranges(network, job)
    config = builder_config(tensorrt, builder, network, ranges, job)
    began = time.monotonic()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise fault(
            Reason.COMPILE_FAILED,
            job.field,
            f"TensorRT could not build the engine: {logger.last_error or 'the log of the Job says why'}",
        )
    seconds = round(time.monotonic() - began, 1)
    report = read_back(tensorrt, logger, network, engine)
    (into / PLAN).write_bytes(engine)
    return report.model_copy(
        update={
            "batchable": ranges.batchable,
            "limit": ranges.limit,
            "profiles": len(ranges.ranges),
            "version": str(tensorrt.__version__),
            "gpu": gpu_name(),
            "seconds": seconds,
        }
    )


def _ranges(network: Any, job: Job) -> Plan:
    wanted = Wanted(
        profiles=job.parameters.profiles,
        max_batch_size=job.parameters.max_batch_size,
        opt_batch_size=job.parameters.opt_batch_size,
        field=job.field,
        model_field=job.model_field,
    )
    inputs, outputs = (
        tuple(NetworkTensor(tensor.name, tuple(tensor.shape)) for tensor in side)
        for side in (inputs_of(network), outputs_of(network))
    )
    return plan(wanted, inputs, outputs)


if __name__ == "__main__":
    main()
