"""The builder's configuration: flags and optimisation profiles."""

from __future__ import annotations

from typing import Any

from ensemble_builder.compilers.tensorrt.network import types_of
from ensemble_builder.compilers.tensorrt.precision import flags
from ensemble_builder.compilers.tensorrt.profiles import Plan
from ensemble_builder.compilers.tensorrt.report import Job, fault
from ensembles_api.reasons import Reason


def builder_config(tensorrt: Any, builder: Any, network: Any, ranges: Plan, job: Job) -> Any:
    """How to build the network. Raises FaultError where TensorRT or the network does not fit the spec."""
    config = builder.create_builder_config()
    config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED
    names = {name for name in dir(tensorrt.BuilderFlag) if name.isupper()}
    wanted = flags(job.parameters.precision, types_of(network), available=names, field=job.field)
    for name, on in wanted.items():
        flag = getattr(tensorrt.BuilderFlag, name)
        (config.set_flag if on else config.clear_flag)(flag)
    for index, shapes in enumerate(ranges.ranges):
        profile = builder.create_optimization_profile()
        for entry in shapes:
            profile.set_shape(entry.name, tuple(entry.min), tuple(entry.opt), tuple(entry.max))
        if config.add_optimization_profile(profile) < 0:
            raise fault(
                Reason.INVALID_SPEC,
                f"{job.field}.profiles[{index}]",
                "TensorRT refuses it; the Job's log says why",
            )
    return config
