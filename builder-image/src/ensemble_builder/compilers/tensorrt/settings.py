"""The builder's configuration, as the resource asks for it."""

from __future__ import annotations

from typing import Any

from ensemble_builder.compilers.tensorrt.library import Library
from ensemble_builder.compilers.tensorrt.offer import Offer
from ensemble_builder.compilers.tensorrt.precision import NetworkTypes, flags
from ensemble_builder.compilers.tensorrt.profiles import Plan
from ensemble_builder.compilers.tensorrt.report import Job, fault
from ensembles_api.reasons import Reason
from ensembles_api.spec import EngineBuilder, HardwareCompatibility

_UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}


def builder_config(
    library: Library, ranges: Plan, types: NetworkTypes, job: Job, *, constrained: bool
) -> Any:
    """How to build a network.

    Args:
        library: TensorRT.
        ranges: its profiles.
        types: its types.
        job: what is asked for.
        constrained: layers of the network have a precision of their own, which the builder must obey.

    Raises:
        FaultError: TensorRT or the network does not fit the spec.
    """
    tensorrt, offer = library.module, library.offer
    config = library.builder.create_builder_config()
    # The inspector then names the type that each layer computes in.
    config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED
    wanted = {
        **flags(job.parameters.precision, types, offer=offer, field=job.field),
        **_asked_flags(offer, job),
        **({"OBEY_PRECISION_CONSTRAINTS": True} if constrained else {}),
    }
    for name, on in wanted.items():
        flag = getattr(tensorrt.BuilderFlag, name)
        (config.set_flag if on else config.clear_flag)(flag)
    _apply(library, config, job.parameters.builder, field=f"{job.field}.builder")
    _add_profiles(library, config, ranges, job)
    return config


def _asked_flags(offer: Offer, job: Job) -> dict[str, bool]:
    settings, field = job.parameters.builder, f"{job.field}.builder"
    asked = {name: f"{field}.flags[{index}]" for index, name in enumerate(settings.flags)}
    if settings.version_compatible:
        asked["VERSION_COMPATIBLE"] = f"{field}.versionCompatible"
    for name, place in asked.items():
        offer.demand(name, offer.flags, what="builder flag", field=place)
    return dict.fromkeys(asked, True)


def _apply(library: Library, config: Any, settings: EngineBuilder, *, field: str) -> None:
    tensorrt, offer = library.module, library.offer
    if settings.optimization_level is not None:
        if not offer.optimization_levels:
            raise offer.lacks("optimization level", f"{field}.optimizationLevel", "it has one way to build")
        config.builder_optimization_level = settings.optimization_level
    if settings.workspace:
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, bytes_of(settings.workspace))
    if settings.hardware_compatibility is not HardwareCompatibility.NONE:
        level = offer.level(settings.hardware_compatibility, field=f"{field}.hardwareCompatibility")
        config.hardware_compatibility_level = getattr(tensorrt.HardwareCompatibilityLevel, level)
    if settings.tactic_sources:
        sources = 0
        for index, name in enumerate(settings.tactic_sources):
            place = f"{field}.tacticSources[{index}]"
            offer.demand(name, offer.tactic_sources, what="tactic source", field=place)
            sources |= 1 << int(getattr(tensorrt.TacticSource, name))
        config.set_tactic_sources(sources)


def bytes_of(size: str) -> int:
    """4Gi -> 4294967296."""
    return int(size[:-2]) * _UNITS[size[-2:]]


def _add_profiles(library: Library, config: Any, ranges: Plan, job: Job) -> None:
    for index, (shapes, values) in enumerate(zip(ranges.ranges, ranges.values, strict=True)):
        profile = library.builder.create_optimization_profile()
        for entry in shapes:
            profile.set_shape(entry.name, tuple(entry.min), tuple(entry.opt), tuple(entry.max))
        for value in values:
            profile.set_shape_input(value.name, value.min, value.opt, value.max)
        if config.add_optimization_profile(profile) < 0:
            raise fault(
                Reason.INVALID_SPEC,
                f"{job.field}.profiles[{index}]",
                "TensorRT refuses it; the Job's log says why",
            )
