"""What `precision` asks of the builder, and what the network must bring for it.

Until TensorRT 10 a flag permits the builder to lower the precision; from 11 on (and in TensorRT-RTX) networks
are strongly typed: the ONNX alone decides. Nothing computed in FP32 may pass as less.
"""

from __future__ import annotations

from dataclasses import dataclass

from ensemble_builder.compilers.tensorrt.offer import Offer
from ensemble_builder.compilers.tensorrt.report import fault
from ensembles_api.reasons import Reason
from ensembles_api.spec import Precision

_QUANTISED = {Precision.INT8: "INT8", Precision.FP8: "FP8"}


@dataclass(frozen=True)
class NetworkTypes:
    """Types by TensorRT's names. `computed`: of convolutions and matrix products, `all`: of any tensor."""

    computed: frozenset[str]
    all: frozenset[str]
    quantised: bool
    """There are Q/DQ layers."""

    def compute_in(self, name: str) -> bool:
        """Whether what is heavy is computed in this type; where nothing is heavy, whether anything is."""
        return name in (self.computed or self.all)


def flags(precision: Precision, types: NetworkTypes, *, offer: Offer, field: str) -> dict[str, bool]:
    """BuilderFlags to set (True) or clear (False), by name.

    Args:
        precision: what the resource asks for.
        types: of the parsed network.
        offer: what this TensorRT knows.
        field: path of the model's tensorrt, for faults.

    Raises:
        FaultError: InvalidModel where the ONNX would have to bring the precision and does not; NotSupported
            where this TensorRT cannot build it.
    """
    match precision:
        case Precision.TF32 | Precision.FP32:
            return {"TF32": precision is Precision.TF32}
        case Precision.FP16:
            if offer.strongly_typed:
                _demand("HALF", precision, types, field)
                return {}
            return {"FP16": True}
        case Precision.BF16:
            _demand("BF16", precision, types, field)
            return {} if offer.strongly_typed else _permitted("BF16", offer, field)
        case _:
            _demand_quantised(precision, types, field)
            if offer.strongly_typed:
                return {}
            return {**_permitted(_QUANTISED[precision], offer, field), "FP16": True}


def _demand(name: str, precision: Precision, types: NetworkTypes, field: str) -> None:
    if types.compute_in(name):
        return
    found = ", ".join(sorted(types.computed or types.all))
    raise fault(
        Reason.INVALID_MODEL,
        f"{field}.precision",
        f"{precision.value} is asked for; the ONNX, which decides here, computes in {found}: export it in "
        f"{precision.value}, keep less in FP32, or choose tf32",
    )


def _demand_quantised(precision: Precision, types: NetworkTypes, field: str) -> None:
    if types.quantised:
        return
    raise fault(
        Reason.INVALID_MODEL,
        f"{field}.precision",
        f"{precision.value} is asked for, and the ONNX has no QuantizeLinear/DequantizeLinear: "
        "quantise it first (NVIDIA ModelOpt), or choose fp16",
    )


def _permitted(flag: str, offer: Offer, field: str) -> dict[str, bool]:
    offer.demand(flag, offer.flags, what="precision", field=f"{field}.precision")
    return {flag: True}
