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
_PERMITTED = {
    Precision.FP16: ("FP16",),
    Precision.BF16: ("BF16",),
    Precision.INT8: ("INT8", "FP16"),
    Precision.FP8: ("FP8", "FP16"),
}
"""What is not quantised runs in half precision then."""
_PRECISIONS = frozenset(name for names in _PERMITTED.values() for name in names)


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

    Q/DQ layers are honoured whatever the precision: they are the user's statement in the graph itself.

    Args:
        precision: what the resource asks for.
        types: of the parsed network.
        offer: what this TensorRT knows.
        field: path of the model's tensorrt, for faults.

    Raises:
        FaultError: InvalidModel where the ONNX would have to bring the precision and does not, or brings a
            lower one; NotSupported where this TensorRT cannot build it.
    """
    _check(precision, types, offer, field)
    exact = precision in (Precision.TF32, Precision.FP32)
    tf32 = {"TF32": precision is Precision.TF32} if exact else {}
    if offer.strongly_typed:
        return tf32
    permitted = _PERMITTED.get(precision, ())
    for name in permitted:
        offer.demand(name, offer.flags & _PRECISIONS, what="precision", field=f"{field}.precision")
    quantised = [name for name in _QUANTISED.values() if types.quantised and name in types.all & offer.flags]
    return {**tf32, **dict.fromkeys((*permitted, *quantised), True)}


def _check(precision: Precision, types: NetworkTypes, offer: Offer, field: str) -> None:
    match precision:
        case Precision.TF32 | Precision.FP32:
            _refuse_lower(precision, types, field)
        case Precision.FP16:
            if offer.strongly_typed:
                _demand("HALF", precision, types, field)
        case Precision.BF16:
            _demand("BF16", precision, types, field)
        case _:
            _demand_quantised(precision, types, field)


def _refuse_lower(precision: Precision, types: NetworkTypes, field: str) -> None:
    for name, lower in (("HALF", Precision.FP16), ("BF16", Precision.BF16)):
        if name in types.computed:
            raise fault(
                Reason.INVALID_MODEL,
                f"{field}.precision",
                f"{precision.value} is the lowest precision allowed, and the ONNX itself computes in {name}: "
                f"set precision to {lower.value}, or export it in FP32",
            )


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
    if types.quantised and _QUANTISED[precision] in types.all:
        return
    raise fault(
        Reason.INVALID_MODEL,
        f"{field}.precision",
        f"{precision.value} is asked for, and the ONNX has no QuantizeLinear/DequantizeLinear of that type: "
        "quantise it first (NVIDIA ModelOpt), or choose fp16",
    )
