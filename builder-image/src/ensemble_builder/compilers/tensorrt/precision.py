"""What `precision` asks of the builder, and what the network must bring for it.

Until TensorRT 10 a flag permits the builder to lower the precision; from 11 on (and in TensorRT-RTX) networks
are strongly typed: the ONNX alone decides. Nothing computed in FP32 may pass as less.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault
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


def flags(
    precision: Precision, types: NetworkTypes, *, available: AbstractSet[str], field: str
) -> dict[str, bool]:
    """BuilderFlags to set (True) or clear (False), by name.

    Args:
        precision: what the resource asks for.
        types: of the parsed network.
        available: names of the builder's flags.
        field: path of the model's tensorrt, for faults.

    Raises:
        FaultError: InvalidModel where the ONNX would have to bring the precision and does not; NotSupported
            where this TensorRT cannot build it.
    """
    strongly_typed = "FP16" not in available
    match precision:
        case Precision.TF32 | Precision.FP32:
            return {"TF32": precision is Precision.TF32}
        case Precision.FP16:
            if strongly_typed:
                _demand("HALF" in (types.computed or types.all), precision, types, field)
                return {}
            return {"FP16": True}
        case Precision.BF16:
            _demand("BF16" in (types.computed or types.all), precision, types, field)
            return {} if strongly_typed else _offered("BF16", available, field)
        case _:
            _demand_quantised(precision, types, field)
            if strongly_typed:
                return {}
            return {**_offered(_QUANTISED[precision], available, field), "FP16": True}


def _demand(met: bool, precision: Precision, types: NetworkTypes, field: str) -> None:  # noqa: FBT001
    if met:
        return
    found = ", ".join(sorted(types.computed or types.all))
    raise FaultError(
        Fault(
            code=Reason.INVALID_MODEL,
            field=f"{field}.precision",
            message=f"{precision.value} is asked for; the ONNX, which decides here, computes in {found}: "
            f"convert it to {precision.value} (for fp16: onnxruntime.transformers.float16), or choose "
            "tf32",
        )
    )


def _demand_quantised(precision: Precision, types: NetworkTypes, field: str) -> None:
    if types.quantised:
        return
    raise FaultError(
        Fault(
            code=Reason.INVALID_MODEL,
            field=f"{field}.precision",
            message=f"{precision.value} is asked for, and the ONNX has no QuantizeLinear/DequantizeLinear: "
            "quantise it first (NVIDIA ModelOpt), or choose fp16",
        )
    )


def _offered(flag: str, available: AbstractSet[str], field: str) -> dict[str, bool]:
    if flag in available:
        return {flag: True}
    raise FaultError(
        Fault(
            code=Reason.NOT_SUPPORTED,
            field=f"{field}.precision",
            message=f"this release's TensorRT has no {flag}: choose another precision or a newer release",
        )
    )
