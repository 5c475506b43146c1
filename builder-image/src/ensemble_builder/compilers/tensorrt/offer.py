"""What the installed TensorRT can be asked for: the one place that knows how 8.6, 10, 11 and RTX differ.

Everything is read from the module itself, by TensorRT's own names. TensorRT-RTX has the API of TensorRT 11.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from ensemble_builder.compilers.tensorrt.report import fault
from ensemble_builder.faults import FaultError
from ensembles_api.reasons import Reason
from ensembles_api.spec import HardwareCompatibility

_LEVELS = {
    HardwareCompatibility.AMPERE_PLUS: "AMPERE_PLUS",
    HardwareCompatibility.SAME_COMPUTE_CAPABILITY: "SAME_COMPUTE_CAPABILITY",
}


@dataclass(frozen=True)
class Offer:
    """Names that this TensorRT knows.

    rtx: TensorRT-RTX, which builds without a GPU and whose engines Triton does not load.
    strongly_typed: networks compute in the types of the ONNX; until TensorRT 10, flags permit lower ones.
    explicit_batch: networks must be created with this flag (until TensorRT 9).
    monitors: the builder reports its progress (from TensorRT 10).
    """

    version: str
    rtx: bool
    strongly_typed: bool
    explicit_batch: bool
    monitors: bool
    optimization_levels: bool
    flags: frozenset[str]
    tactic_sources: frozenset[str]
    hardware: frozenset[str]
    types: frozenset[str]

    @property
    def name(self) -> str:
        return f"TensorRT{'-RTX' if self.rtx else ''} {self.version}"

    def demand(self, name: str, offered: AbstractSet[str], *, what: str, field: str) -> None:
        """Raises FaultError, NotSupported, where `name` is not among `offered`."""
        if name not in offered:
            raise self.lacks(f"{what} {name}", field, f"it has {', '.join(sorted(offered)) or 'none'}")

    def lacks(self, what: str, field: str, has: str) -> FaultError:
        message = f"{self.name} knows no {what}; {has}: change the setting, or use another release"
        return fault(Reason.NOT_SUPPORTED, field, message)

    def level(self, wanted: HardwareCompatibility, *, field: str) -> str:
        """TensorRT's name of a hardware compatibility level. Raises FaultError: NotSupported."""
        name = _LEVELS[wanted]
        self.demand(name, self.hardware, what="hardware compatibility level", field=field)
        return name


def offered(tensorrt: Any) -> Offer:
    """What the module `tensorrt` has."""
    flags = _names(tensorrt, "BuilderFlag")
    rtx = "rtx" in tensorrt.__name__
    return Offer(
        version=str(tensorrt.__version__),
        rtx=rtx,
        strongly_typed="FP16" not in flags,
        explicit_batch="EXPLICIT_BATCH" in _names(tensorrt, "NetworkDefinitionCreationFlag"),
        monitors=hasattr(tensorrt, "IProgressMonitor"),
        optimization_levels=hasattr(tensorrt.IBuilderConfig, "builder_optimization_level"),
        flags=flags,
        tactic_sources=_names(tensorrt, "TacticSource"),
        # RTX has the names and ignores them.
        hardware=frozenset() if rtx else _names(tensorrt, "HardwareCompatibilityLevel") - {"NONE"},
        types=_names(tensorrt, "DataType"),
    )


def _names(tensorrt: Any, enumeration: str) -> frozenset[str]:
    return frozenset(getattr(getattr(tensorrt, enumeration, None), "__members__", ()))
