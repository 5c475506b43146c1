"""What an engine is, read from the engine itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ensemble_builder.compilers.tensorrt.failures import build_failure
from ensemble_builder.compilers.tensorrt.library import Library
from ensemble_builder.compilers.tensorrt.network import count_types, inputs_of, outputs_of
from ensemble_builder.compilers.tensorrt.report import EngineTensor, Report

_SPELLINGS = (
    ("BF16", ("bf16", "bfloat16")),
    ("HALF", ("fp16", "half", "float16", "f16f16", "h884", "h1688", "h16816", "hmma")),
    ("FP8", ("fp8", "e4m3", "e5m2")),
    ("INT8", ("int8", "i8i8", "i8i32", "imma")),
    ("FLOAT", ("fp32", "float", "tf32", "f32f32", "sgemm", "scudnn")),
)
"""How the inspector writes a type: of weights, of tensors' formats, in names of kernels. The first wins."""
_MOVING = frozenset({"Reformat", "NoOp", "Constant", "Shuffle", "Slice", "Shape", "Signal", "Wait"})
"""Layers that compute nothing."""
UNKNOWN = "UNKNOWN"


def read_back(library: Library, network: Any, data: Any, *, field: str) -> Report:
    """Tensors and layers of the serialised engine. Raises FaultError: CompileFailed."""
    tensorrt = library.module
    runtime = tensorrt.Runtime(library.logger)
    # A version-compatible engine carries code of its own; this one was built here a moment ago.
    runtime.engine_host_code_allowed = True
    loaded = runtime.deserialize_cuda_engine(data)
    if loaded is None:
        if not library.offer.rtx:
            raise build_failure(list(library.logger.errors), field=field, workspace=None)
        inputs, outputs = _network_tensors(network)
        return Report(inputs=inputs, outputs=outputs, read_from="network", layers=count_types(network))
    inputs, outputs = _engine_tensors(tensorrt, loaded)
    return Report(inputs=inputs, outputs=outputs, read_from="engine", layers=_inspected(tensorrt, loaded))


def _engine_tensors(tensorrt: Any, engine: Any) -> tuple[tuple[EngineTensor, ...], tuple[EngineTensor, ...]]:
    sides: tuple[list[EngineTensor], list[EngineTensor]] = ([], [])
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        is_output = engine.get_tensor_mode(name) == tensorrt.TensorIOMode.OUTPUT
        sides[is_output].append(
            EngineTensor(
                name=name,
                type=engine.get_tensor_dtype(name).name,
                shape=tuple(engine.get_tensor_shape(name)),
                is_shape_tensor=engine.is_shape_inference_io(name),
            )
        )
    return tuple(sides[0]), tuple(sides[1])


def _network_tensors(network: Any) -> tuple[tuple[EngineTensor, ...], tuple[EngineTensor, ...]]:
    inputs, outputs = (
        tuple(
            EngineTensor(
                name=tensor.name,
                type=tensor.dtype.name,
                shape=tuple(tensor.shape),
                is_shape_tensor=tensor.is_shape_tensor,
            )
            for tensor in side
        )
        for side in (inputs_of(network), outputs_of(network))
    )
    return inputs, outputs


def _inspected(tensorrt: Any, engine: Any) -> dict[str, int]:
    text: str = engine.create_engine_inspector().get_engine_information(tensorrt.LayerInformationFormat.JSON)
    return count_layers(layers_of(text))


def layers_of(text: str) -> list[Any]:
    """`Layers` of the inspector's JSON, which holds bare control characters between the names of ONNX nodes.

    Empty where it is no JSON at all: that is no reason to throw an engine away.
    """
    try:
        found = json.loads(text, strict=False)
    except json.JSONDecodeError:
        return []
    return list(found.get("Layers", ())) if isinstance(found, dict) else []


def count_layers(layers: Iterable[Mapping[str, Any] | str]) -> dict[str, int]:
    """Layers of an engine by the type they compute in, as its inspector tells it; UNKNOWN is counted too.

    With free axes the inspector writes no formats: what is left are the weights' type and the kernel's name.

    Args:
        layers: `Layers` of the inspector's JSON; mere names where the engine keeps no details.
    """
    computing = [
        layer for layer in layers if not isinstance(layer, Mapping) or layer.get("LayerType") not in _MOVING
    ]
    return dict(sorted(Counter(map(_layer_type, computing)).items()))


def _layer_type(layer: Mapping[str, Any] | str) -> str:
    if not isinstance(layer, Mapping):
        return UNKNOWN
    weights = layer.get("Weights")
    # A filter that comes as an input, as behind Q/DQ, leaves no weights, which the inspector calls Float.
    stated = weights.get("Type", "") if isinstance(weights, Mapping) and weights.get("Count") != 0 else ""
    outputs = [tensor for tensor in layer.get("Outputs", ()) if isinstance(tensor, Mapping)]
    clues = (
        str(stated),
        *(str(tensor.get("Format/Datatype", "")) for tensor in outputs),
        str(layer.get("TacticName", "")),
    )
    return next((found for clue in clues if (found := _spelled(clue))), UNKNOWN)


def _spelled(clue: str) -> str:
    text = clue.lower()
    return next((name for name, spellings in _SPELLINGS if any(s in text for s in spellings)), "")
