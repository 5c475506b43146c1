"""What an engine is, read from the engine itself."""

from __future__ import annotations

from typing import Any

from ensemble_builder.compilers.tensorrt.network import inputs_of, outputs_of
from ensemble_builder.compilers.tensorrt.report import EngineTensor, Report, fault
from ensembles_api.reasons import Reason


def read_back(tensorrt: Any, logger: Any, network: Any, data: Any) -> Report:
    """Tensors and layers of the serialised engine. Raises FaultError: CompileFailed."""
    loaded = tensorrt.Runtime(logger).deserialize_cuda_engine(data)
    if loaded is None and "rtx" not in tensorrt.__name__:
        raise fault(
            Reason.COMPILE_FAILED, "", "the engine does not load where it was built; read the Job's log"
        )
    inputs, outputs = _engine_tensors(tensorrt, loaded) if loaded else _network_tensors(network)
    return Report(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        read_from="engine" if loaded else "network",
        half_layers=_half_layers(tensorrt, loaded) if loaded else None,
    )


def _engine_tensors(tensorrt: Any, engine: Any) -> tuple[list[EngineTensor], list[EngineTensor]]:
    sides: tuple[list[EngineTensor], list[EngineTensor]] = ([], [])
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        is_output = engine.get_tensor_mode(name) == tensorrt.TensorIOMode.OUTPUT
        sides[is_output].append(
            EngineTensor(
                name=name, type=engine.get_tensor_dtype(name).name, shape=tuple(engine.get_tensor_shape(name))
            )
        )
    return sides


def _network_tensors(network: Any) -> tuple[list[EngineTensor], list[EngineTensor]]:
    inputs, outputs = (
        [EngineTensor(name=tensor.name, type=tensor.dtype.name, shape=tuple(tensor.shape)) for tensor in side]
        for side in (inputs_of(network), outputs_of(network))
    )
    return inputs, outputs


def _half_layers(tensorrt: Any, engine: Any) -> int:
    """Tensors in half precision, as far as the engine's inspector names them."""
    text: str = engine.create_engine_inspector().get_engine_information(tensorrt.LayerInformationFormat.JSON)
    return text.count("Half") + text.count("FP16")
