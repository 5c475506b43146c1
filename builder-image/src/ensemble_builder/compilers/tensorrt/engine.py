"""Builds an engine with TensorRT's Python API. A process of its own: parsers and tactics are native code.

    python -m ensemble_builder.compilers.tensorrt.engine JOB

JOB is a JSON file (`Job`); report.json (`Report`) and, without a fault, model.plan are written beside it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ensemble_builder.compilers.tensorrt import graph as graphs
from ensemble_builder.compilers.tensorrt import half, timing
from ensemble_builder.compilers.tensorrt.device import check_device, find_device, free_memory
from ensemble_builder.compilers.tensorrt.failures import build_failure
from ensemble_builder.compilers.tensorrt.library import Library, load_plugins, load_tensorrt, open_library
from ensemble_builder.compilers.tensorrt.network import (
    hold_in_fp32,
    inputs_of,
    outputs_of,
    parsed,
    set_io_types,
    types_of,
)
from ensemble_builder.compilers.tensorrt.offer import offered
from ensemble_builder.compilers.tensorrt.precision import NetworkTypes
from ensemble_builder.compilers.tensorrt.products import computed_types, quantised_types
from ensemble_builder.compilers.tensorrt.profiles import NetworkTensor, Plan, Wanted, plan
from ensemble_builder.compilers.tensorrt.progress import Progress, VerboseLog, monitor, printed
from ensemble_builder.compilers.tensorrt.readback import read_back
from ensemble_builder.compilers.tensorrt.report import PLAN, Job, Report, fault
from ensemble_builder.compilers.tensorrt.settings import builder_config
from ensemble_builder.compilers.tensorrt.stopping import Stop
from ensemble_builder.faults import FaultError
from ensembles_api.reasons import Reason
from ensembles_api.spec import Precision


def main() -> None:
    path = Path(sys.argv[1])
    job = Job.model_validate_json(path.read_bytes())
    stop = Stop()
    try:
        report = _Building(job, scratch=path.parent, stop=stop).run()
    except FaultError as error:
        report = Report(fault=error.fault)
    path.with_name("report.json").write_text(report.model_dump_json())


@dataclass(frozen=True)
class _Building:
    job: Job
    scratch: Path
    stop: Stop

    def run(self) -> Report:
        job = self.job
        tensorrt = load_tensorrt(job.parameters.tensorrt_version)
        offer = offered(tensorrt)
        device = find_device()
        check_device(device, wanted=job.gpu_product, rtx=offer.rtx)
        library = open_library(tensorrt, offer, field=job.field)
        load_plugins(job.plugins, field=job.field)
        prepared = _prepare(library, job, self.scratch)
        network = prepared.network
        ranges = _ranges(network, job)
        constrained = prepared.kept > 0 and not offer.strongly_typed
        config = builder_config(library, ranges, prepared.types, job, constrained=constrained)
        filled = self._timing(library, config, timing.Stamp.of(offer.version, device))
        began = time.monotonic()
        progress = Progress(printed(began))
        watching = self._watch(library, config, progress)
        engine = library.builder.build_serialized_network(network, config)
        self.stop.built()
        del watching
        if engine is None:
            workspace = job.parameters.builder.workspace
            raise build_failure(
                list(library.logger.errors),
                field=job.field,
                workspace=workspace,
                warnings=list(library.logger.warnings),
                free_memory=free_memory(),
            )
        seconds = round(time.monotonic() - began, 1)
        progress.reach(1)
        report = read_back(library, network, engine, field=job.field)
        (self.scratch / PLAN).write_bytes(engine)
        return report.model_copy(
            update={
                "batchable": ranges.batchable,
                "limit": ranges.limit,
                "profiles": len(ranges.ranges),
                "version": offer.version,
                "gpu": device,
                "converter": prepared.converter,
                "kept": prepared.kept,
                "warnings": (*filled.warnings, *library.logger.warnings),
                "merged_caches": filled.superfluous,
                "seconds": seconds,
            }
        )

    def _timing(self, library: Library, config: Any, stamp: timing.Stamp) -> timing.Filled:
        """Use and keep what builds measure; TensorRT-RTX measures nothing."""
        if library.offer.rtx:
            self.stop.building(lambda: None, heeds=True)
            return timing.Filled()
        filled = timing.fill(config, Path(self.job.timing_caches), stamp=stamp, logger=library.logger)
        file = Path(self.job.timing_cache)
        self.stop.building(lambda: timing.save(config, file, stamp=stamp), heeds=library.offer.monitors)
        return filled

    def _watch(self, library: Library, config: Any, progress: Progress) -> object:
        """What it returns must live as long as the build: TensorRT holds a bare pointer to it."""
        if library.offer.monitors:
            config.progress_monitor = monitor(library.module, progress, self.stop.event)
            return config.progress_monitor
        library.logger.listener = VerboseLog(progress).read
        return None


@dataclass(frozen=True)
class _Prepared:
    """A network with the types that the resource asks for.

    types: which those are, the ONNX' own included.
    converter: what converted the ONNX to half, if anything did.
    kept: layers (nodes, where the ONNX was converted) held in FP32.
    """

    network: Any
    types: NetworkTypes
    converter: str = ""
    kept: int = 0


def _prepare(library: Library, job: Job, scratch: Path) -> _Prepared:
    graph = graphs.load(Path(job.model), field=job.field, source_field=job.source_field)
    kept = graphs.kept_nodes(graph, job.parameters.keep_fp32)
    types = graphs.io_types(graph, job.parameters.io)
    network = parsed(library, graph)
    if not library.offer.strongly_typed:
        own = types_of(network)
        own = replace(
            own,
            computed=own.computed | computed_types(graph.model),
            all=own.all | quantised_types(graph.model),
        )
        set_io_types(library, network, types, field=job.field)
        names = frozenset(node.name for node in graphs.nodes(graph.model.graph))
        return _Prepared(network, own, kept=hold_in_fp32(library, network, kept, names=names))
    lower = job.parameters.precision is Precision.FP16 and not types_of(network).compute_in("HALF")
    if kept and not lower:
        raise fault(
            Reason.NOT_SUPPORTED,
            f"{job.field}.keepFp32",
            f"{library.offer.name} computes in the types of the ONNX, and only one in FP32 is converted, by "
            "precision fp16: write the types into the ONNX, and remove keepFp32",
        )
    if lower:
        graph = half.converted(graph, kept=kept, types=types, scratch=scratch)
    if lower or types:
        graphs.cast_io(graph, types)
        network = parsed(library, graph)
    converter = half.converter() if lower else ""
    return _Prepared(network, types_of(network), converter=converter, kept=len(kept))


def _ranges(network: Any, job: Job) -> Plan:
    wanted = Wanted(
        profiles=job.parameters.profiles,
        max_batch_size=job.parameters.max_batch_size,
        opt_batch_size=job.parameters.opt_batch_size,
        field=job.field,
        model_field=job.model_field,
    )
    inputs, outputs = (
        tuple(NetworkTensor(tensor.name, tuple(tensor.shape), tensor.is_shape_tensor) for tensor in side)
        for side in (inputs_of(network), outputs_of(network))
    )
    return plan(wanted, inputs, outputs)


if __name__ == "__main__":
    main()
